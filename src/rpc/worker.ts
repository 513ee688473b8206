/**
 * A worker: serves one client on one connection, one request after the other, until the client has gone or a request was
 * not `keep_open`. It is a process of its own, so that nothing of a request is left for the next client. A packet that
 * is no request is answered by an error and changes nothing; in a stream nobody knows where the next message begins.
 */
import type { LogSink } from '../base/log.ts';
import { createLogSink, readConfigFile } from '../cli/startup.ts';
import { type CriuReq, CriuReqType } from '../image/gen/rpc.ts';
import { close } from '../linux/syscalls/fs.ts';
import type { ReadFile } from '../options/parse-command-line.ts';
import { Client } from './client.ts';
import { Connection, MalformedRequest } from './connection.ts';
import { failureResponse } from './failure-response.ts';
import { answer } from './requests.ts';

export interface WorkerOptions {
  readonly fd: number;
  /** False when a service has started the worker for somebody else. */
  readonly isOwnWorker: boolean;
  /** Configuration options of the command line, for every request. */
  readonly words: readonly string[];
}

/** Returns the exit status: 0 when the last request was done. Throws CriuError when nobody can be served. */
export async function serveClient(options: WorkerOptions): Promise<number> {
  const connection = new Connection(options.fd);
  using client = new Client(options.fd);
  const readOwnFile = remembering(readConfigFile);
  for (;;) {
    let request: CriuReq | undefined;
    try {
      request = connection.receive();
    } catch (error) {
      if (!(error instanceof MalformedRequest)) throw error;
      const isSent = connection.send(failureResponse(CriuReqType.EMPTY, error, createLogSink()));
      if (!isSent || connection.isStream) return 1;
      continue;
    }
    if (request === undefined) return 0;
    const sink = createLogSink();
    const response = await answer({ ...options, connection, client, request, sink, readOwnFile });
    closeLog(sink);
    client.release();
    if (response !== undefined && !(connection.send(response) && response.success)) return 1;
    // A pre-dump is followed by others and by the dump.
    if (request.keep_open !== true && request.type !== CriuReqType.PRE_DUMP) return 0;
  }
}

/** Later requests are read with the rights of the client, who may not be allowed to see these files. */
function remembering(readFile: ReadFile): ReadFile {
  const known = new Map<string, string | undefined>();
  return (path) => {
    if (!known.has(path)) known.set(path, readFile(path));
    return known.get(path);
  };
}

/** Standard output and error belong to the process. */
function closeLog(sink: LogSink): void {
  const fd = sink.detach();
  if (fd !== undefined && fd > 2) close(fd);
}
