/**
 * States of TCP connections (net/tcp_states.h), and what each means for the two queues: whether the end of the stream
 * (FIN) has been received, and whether it has been sent.
 */
import * as INET from '../../../linux/abi/inet.ts';

const NAMES = [
  '',
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT1',
  'FIN_WAIT2',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'CLOSING',
];

/** For messages. */
export const stateName = (state: number) => NAMES[state] || `${state}`;

/** States that a connection behind a descriptor can be kept in. */
const KEPT: readonly number[] = [
  INET.TCP_ESTABLISHED,
  INET.TCP_SYN_SENT,
  INET.TCP_FIN_WAIT1,
  INET.TCP_FIN_WAIT2,
  INET.TCP_CLOSE,
  INET.TCP_CLOSE_WAIT,
  INET.TCP_LAST_ACK,
  INET.TCP_CLOSING,
];

export const isKept = (state: number) => KEPT.includes(state);

/** Why a connection in another state is refused. */
export const notKept = (state: number) => `TCP connections in state ${stateName(state)} cannot be kept`;

const SENT: readonly number[] = [
  INET.TCP_FIN_WAIT1,
  INET.TCP_FIN_WAIT2,
  INET.TCP_CLOSING,
  INET.TCP_LAST_ACK,
  INET.TCP_CLOSE,
];
const RECEIVED: readonly number[] = [INET.TCP_CLOSE_WAIT, INET.TCP_LAST_ACK, INET.TCP_CLOSING, INET.TCP_CLOSE];

/** A FIN takes one sequence number, after the last byte. */
export const finsSent = (state: number) => (SENT.includes(state) ? 1 : 0);
export const finsReceived = (state: number) => (RECEIVED.includes(state) ? 1 : 0);
/** The other side has acknowledged ours. */
export const isFinAcknowledged = (state: number) => state === INET.TCP_FIN_WAIT2 || state === INET.TCP_CLOSE;
