/** Packet sockets (uapi/linux/if_packet.h, packet_diag.h; man 7 packet). */

/** Type of an obsolete kind of packet socket (linux/net.h). */
export const SOCK_PACKET = 10;

export const PACKET_ADD_MEMBERSHIP = 1;
export const PACKET_RX_RING = 5;
export const PACKET_COPY_THRESH = 7;
export const PACKET_AUXDATA = 8;
export const PACKET_ORIGDEV = 9;
export const PACKET_VERSION = 10;
export const PACKET_RESERVE = 12;
export const PACKET_TX_RING = 13;
export const PACKET_LOSS = 14;
export const PACKET_VNET_HDR = 15;
export const PACKET_TIMESTAMP = 17;
export const PACKET_FANOUT = 18;

export const PACKET_FANOUT_CBPF = 6;
export const PACKET_FANOUT_EBPF = 7;

export const PACKET_SHOW_INFO = 1;
export const PACKET_SHOW_MCLIST = 2;
export const PACKET_SHOW_RING_CFG = 4;
export const PACKET_SHOW_FANOUT = 8;
export const PACKET_DIAG_INFO = 0;
export const PACKET_DIAG_MCLIST = 1;
export const PACKET_DIAG_RX_RING = 2;
export const PACKET_DIAG_TX_RING = 3;
export const PACKET_DIAG_FANOUT = 4;
export const PDI_AUXDATA = 2;
export const PDI_ORIGDEV = 4;
export const PDI_VNETHDR = 8;
export const PDI_LOSS = 16;
