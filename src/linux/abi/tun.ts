/** TUN and TAP devices: ioctls and flags of /dev/net/tun. Values: linux/if_tun.h, linux/if.h, linux/rtnetlink.h. */

export const TUN_MAJOR = 10;
export const TUN_MINOR = 200;

export const TUNSETIFF = 0x400454ca;
export const TUNSETOWNER = 0x400454cc;
export const TUNSETGROUP = 0x400454ce;
export const TUNGETIFF = 0x800454d2;
export const TUNGETSNDBUF = 0x800454d3;
export const TUNSETSNDBUF = 0x400454d4;
export const TUNGETVNETHDRSZ = 0x800454d7;
export const TUNSETVNETHDRSZ = 0x400454d8;
export const TUNSETQUEUE = 0x400454d9;
export const TUNSETIFINDEX = 0x400454da;
export const TUNGETFILTER = 0x801054db;

export const IFF_TUN = 0x0001;
export const IFF_TAP = 0x0002;
export const IFF_NAPI = 0x0010;
export const IFF_NAPI_FRAGS = 0x0020;
export const IFF_MULTI_QUEUE = 0x0100;
export const IFF_DETACH_QUEUE = 0x0400;
export const IFF_PERSIST = 0x0800;
export const IFF_NO_PI = 0x1000;
export const IFF_ONE_QUEUE = 0x2000;
export const IFF_VNET_HDR = 0x4000;

/** struct ifreq: name, then flags or an address. */
export const IFREQ = { bytes: 40, ifr_name: 0, ifr_flags: 16 } as const;

export const SIOCGIFADDR = 0x8915;
export const IFLA_TUN_OWNER = 1;
export const IFLA_TUN_GROUP = 2;
