/**
 * rtnetlink(7): links, addresses, routes, rules. Values: linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h,
 * linux/fib_rules.h, linux/if_arp.h, linux/if.h.
 */

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_GETNEIGH = 30;
export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
export const RTM_GETRULE = 34;
export const RTM_NEWQDISC = 36;
export const RTM_GETQDISC = 38;

/** struct ifinfomsg. */
export const IFINFOMSG = { bytes: 16, type: 2, index: 4, flags: 8, change: 12 } as const;
export const IFLA_ADDRESS = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
export const IFLA_LINK = 5;
export const IFLA_MASTER = 10;
export const IFLA_TXQLEN = 13;
export const IFLA_LINKINFO = 18;
export const IFLA_IFALIAS = 20;
export const IFLA_GROUP = 27;
export const IFLA_NET_NS_FD = 28;
export const IFLA_LINK_NETNSID = 37;
export const IFLA_XDP = 43;
export const IFLA_INFO_KIND = 1;
export const IFLA_INFO_DATA = 2;
export const IFLA_XDP_ATTACHED = 2;
export const VETH_INFO_PEER = 1;

export const IFF_UP = 0x1;
export const IFF_DEBUG = 0x4;
export const IFF_NOARP = 0x80;
export const IFF_PROMISC = 0x100;
export const IFF_ALLMULTI = 0x200;
export const IFF_MULTICAST = 0x1000;
export const IFF_DYNAMIC = 0x8000;

export const ARPHRD_LOOPBACK = 772;

/** struct ifaddrmsg. */
export const IFADDRMSG = { bytes: 8, family: 0, prefixlen: 1, flags: 2, scope: 3, index: 4 } as const;
export const IFA_ADDRESS = 1;
export const IFA_LOCAL = 2;
export const IFA_FLAGS = 8;
export const IFA_F_NODAD = 0x02;
export const IFA_F_DADFAILED = 0x08;
export const IFA_F_TENTATIVE = 0x40;

/** struct rtmsg. */
export const RTMSG = { bytes: 12, family: 0, table: 4, protocol: 5, scope: 6, type: 7, flags: 8 } as const;
export const RTA_DST = 1;
export const RTA_OIF = 4;
export const RTA_GATEWAY = 5;
export const RTA_PRIORITY = 6;
export const RTA_CACHEINFO = 12;
export const RTA_TABLE = 15;
export const RTA_NH_ID = 30;
export const RTM_F_CLONED = 0x200;
export const RTPROT_KERNEL = 2;
export const RT_TABLE_MAIN = 254;
export const RT_TABLE_LOCAL = 255;

/** struct fib_rule_hdr. */
export const RULEMSG = { bytes: 12, family: 0, table: 4 } as const;
export const FRA_PRIORITY = 6;

/** struct ndmsg. */
export const NDMSG = { bytes: 12, family: 0, index: 4, state: 8, flags: 10 } as const;
export const NDA_DST = 1;
export const NDA_LLADDR = 2;
export const NUD_PERMANENT = 0x80;
export const NTF_PROXY = 0x8;

/** struct tcmsg. */
export const TCMSG = { bytes: 20, index: 4, handle: 8 } as const;
export const TCA_KIND = 1;
