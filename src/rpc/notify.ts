/** Notifications: the client hears of hooks and answers before the work goes on. */

import { CriuError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Hook, Notify } from '../cli/action-script.ts';
import { type CriuReq, CriuReqType } from '../image/gen/rpc.ts';
import type { ExternalResource } from '../options/criu-options.ts';
import { parseExternal, ValueError } from '../options/values.ts';
import type { Connection } from './connection.ts';

/** CRIU's words. */
const REFUSED = 'RPC client reported script error';

/** The hooks at which the client is told the pid of the root task. */
const WITH_PID: ReadonlySet<Hook> = new Set(['setup-namespaces', 'post-restore']);

/** Sends a notification and returns the client's answer. Throws CriuError when it does not agree. */
export function ask(connection: Connection, script: Hook, pid?: number, passedFd?: number): CriuReq {
  const notify = pid === undefined ? { script } : { script, pid };
  const isSent = connection.send({ type: CriuReqType.NOTIFY, success: true, notify }, passedFd);
  const answer = isSent ? connection.receive() : undefined;
  if (answer === undefined) {
    throw new CriuError({ action: `${REFUSED}: it has gone`, why: `the notification of ${script} has no answer` });
  }
  if (answer.type !== CriuReqType.NOTIFY || answer.notify_success !== true) {
    throw new CriuError({ action: `${REFUSED} for hook ${script}` });
  }
  return answer;
}

/** What the commands are given as `notify`. */
export function notifier(connection: Connection, log: Logger): Notify {
  return (hook, initPid) => {
    log.debug('\tRPC');
    try {
      ask(connection, hook, WITH_PID.has(hook) ? initPid : undefined);
      return undefined;
    } catch (error) {
      if (!(error instanceof CriuError)) throw error;
      return error.message;
    }
  };
}

/** The hook query-ext-files: the answer may have keys of external resources. Throws CriuError for one that is wrong. */
export function queryExternal(connection: Connection, log: Logger): readonly ExternalResource[] {
  log.debug('Running query-ext-files scripts');
  const { opts } = ask(connection, 'query-ext-files');
  return (opts?.external ?? []).map((key) => {
    log.info(`Adding external object: ${key}`);
    try {
      return parseExternal(key);
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      throw new CriuError({ object: `query-ext-files: ${key}`, action: error.message });
    }
  });
}
