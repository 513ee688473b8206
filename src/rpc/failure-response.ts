/** The answer to a request that failed: cr_errno and cr_errmsg are always there. */

import { CriuError, SyscallError } from '../base/errors.ts';
import type { LogSink } from '../base/log.ts';
import { describeFailure, logFailure } from '../cli/outcome.ts';
import type { CriuReqType, CriuResp } from '../image/gen/rpc.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import type { CommandName } from '../options/commands.ts';

export interface FailureOptions {
  readonly command?: CommandName;
  /** Whether the command had been started; before that the request itself is wrong. */
  readonly hasBegun?: boolean;
}

/** Logs the failure and makes the response. The text is the first error of the log, as in CRIU. */
export function failureResponse(
  type: CriuReqType,
  error: unknown,
  sink: LogSink,
  { command = 'swrk', hasBegun = false }: FailureOptions = {},
): CriuResp {
  if (sink.fd === undefined) sink.open(2);
  logFailure(sink.logger.child(hasBegun ? command : 'rpc'), command, error, hasBegun);
  return {
    type,
    success: false,
    cr_errno: errnoOf(error) || (hasBegun ? ERRNO.EIO : ERRNO.EBADRQC),
    cr_errmsg: asBytes(sink.firstError ?? describeFailure(error)),
  };
}

/** The number that the error or what caused it has; 0 when there is none. */
function errnoOf(error: unknown): number {
  if (error instanceof SyscallError) return error.errno;
  if (!(error instanceof CriuError)) return 0;
  return error.crErrno || errnoOf(error.cause);
}

/** Messages are byte strings; what is not is written as UTF-8. */
function asBytes(text: string): string {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0xff) return Buffer.from(text, 'utf8').toString('latin1');
  }
  return text;
}
