/** Numbers of the kernel (net/tcp_states.h) and of the image that UNIX sockets use. */
export const TCP_ESTABLISHED = 1;
export const TCP_CLOSE = 7;
export const TCP_LISTEN = 10;

/** uflags of unix_sk_entry: the socket is outside the tree; connect to it by name. */
export const USK_EXTERN = 1;
/** It was connected to criu itself. */
export const USK_SERVICE = 2;
/** A plugin restores it. */
export const USK_CALLBACK = 4;
