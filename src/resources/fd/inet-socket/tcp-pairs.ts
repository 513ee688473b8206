/**
 * Both ends of a TCP connection in one dump: what one has received need not be sent again by the other, and everything
 * else has to be.
 *
 * The ends are read one after the other. Where packets flow between them meanwhile, the first can look as if it had not
 * sent yet what the second has received. Restored like that, the second acknowledges what the first never sent; the
 * kernel drops such packets with all that is in them (net/ipv4/tcp_input.c tcp_ack()), and the connection hangs for ever.
 * And what was on its way is gone with the sockets: it would be sent again only when a retransmission timer has expired,
 * a second later. So the sending end is told what the receiving end knows. Pure.
 */
import type { TcpStreamEntry } from '../../../image/gen/tcp-stream.ts';
import { finsSent } from './tcp-state.ts';
import type { Receiving, Sending } from './tcp-stream.ts';

/** Distance of two sequence numbers, which wrap. */
const distance = (from: number, to: number) => (to - from) | 0;

/** The image of one end; `other` is what the other end has received, read no earlier than `sent`. */
export function describeStream(
  sent: Sending,
  { numbers: known, bytes: received }: Receiving,
  other: Receiving | undefined,
): { message: TcpStreamEntry; payload: Uint8Array } {
  const { bytes } = sent;
  const { state, ...numbers } = sent.numbers;
  const message = { ...numbers, ...known };
  const fin = finsSent(state);
  const arrived = other && distance(numbers.outq_seq - fin - numbers.outq_len, other.numbers.inq_seq);
  if (other === undefined || arrived === undefined || arrived < 0 || arrived > numbers.outq_len + fin) {
    return { message, payload: Buffer.concat([received, bytes]) };
  }
  const rest = bytes.subarray(arrived);
  const payload = Buffer.concat([received, rest]);
  const agreed = { ...message, outq_len: rest.length, unsq_len: rest.length };
  const { rcv_wnd, rcv_wup, inq_seq } = other.numbers;
  if (message.snd_wnd === undefined || rcv_wnd === undefined || rcv_wup === undefined) {
    return { message: agreed, payload };
  }
  const snd_wnd = Math.max(distance(inq_seq, rcv_wup + rcv_wnd), 0);
  const max_window = Math.max(message.max_window ?? 0, snd_wnd);
  return { message: { ...agreed, snd_wnd, max_window, snd_wl1: message.inq_seq }, payload };
}
