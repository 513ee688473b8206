/** States of TCP connections by name (net/tcp_states.h), for messages. */
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

/** Why a connection in this state is refused. */
export const stateNotYet = (state: number) =>
  `TCP connections in state ${NAMES[state] || state} are not supported yet by this criu`;
