/** Sockets: families, types, options of all families (uapi/asm-generic/socket.h, linux/socket.h, man 7 socket). */

export const AF_UNSPEC = 0;
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;

export const MSG_OOB = 1;
export const MSG_PEEK = 2;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;

/** Type of a control message that carries descriptors. */
export const SCM_RIGHTS = 1;

export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;

export const SOL_SOCKET = 1;
export const SOL_PACKET = 263;
export const SOL_NETLINK = 270;
export const SO_REUSEADDR = 2;
export const SO_TYPE = 3;
export const SO_ERROR = 4;
export const SO_DONTROUTE = 5;
export const SO_BROADCAST = 6;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_KEEPALIVE = 9;
export const SO_OOBINLINE = 10;
export const SO_NO_CHECK = 11;
export const SO_PRIORITY = 12;
export const SO_LINGER = 13;
export const SO_REUSEPORT = 15;
export const SO_PASSCRED = 16;
export const SO_PEERCRED = 17;
export const SO_RCVLOWAT = 18;
/** struct timeval; the numbers of 64-bit machines (SO_RCVTIMEO_OLD). */
export const SO_RCVTIMEO = 20;
export const SO_SNDTIMEO = 21;
export const SO_BINDTODEVICE = 25;
export const SO_ATTACH_FILTER = 26;
export const SO_GET_FILTER = SO_ATTACH_FILTER;
export const SO_PEERNAME = 28;
export const SO_ACCEPTCONN = 30;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const SO_PASSSEC = 34;
export const SO_MARK = 36;
export const SO_PROTOCOL = 38;
export const SO_DOMAIN = 39;
export const SO_PEEK_OFF = 42;
/** Since 5.1. */
export const SO_BINDTOIFINDEX = 62;
export const SO_LOCK_FILTER = 44;
export const SO_PEERGROUPS = 59;
export const SO_NETNS_COOKIE = 71;
export const SO_PASSPIDFD = 76;
export const SO_BUF_LOCK = 72;
export const SO_PEERPIDFD = 77;
export const SOCK_SNDBUF_LOCK = 1;
export const SOCK_RCVBUF_LOCK = 2;

/** Longest name of a network device, with its NUL (linux/if.h). */
export const IFNAMSIZ = 16;
/** ioctl: the network namespace of a socket, as a descriptor (linux/sockios.h). */
export const SIOCGSKNS = 0x894c;
