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

/* Of any network device. */
export const IFF_UP = 1;
export const SIOCGIFADDR = 0x8915;
export const RTM_NEWLINK = 16;
export const RTM_GETLINK = 18;
export const IFLA_ADDRESS = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
export const IFLA_LINKINFO = 18;
export const IFLA_INFO_DATA = 2;
export const IFLA_TUN_OWNER = 1;
export const IFLA_TUN_GROUP = 2;
/** struct ifinfomsg. */
export const IFINFOMSG = { bytes: 16, index: 4, flags: 8, change: 12 } as const;
