/**
 * What each type of request does. Those that are commands of criu become the same options and the same call as on the
 * command line; the others are answered here.
 */
import { AssertionError, CriuError } from '../base/errors.ts';
import type { LogSink } from '../base/log.ts';
import type { CommandContext, CommandModule, RequestClient } from '../cli/command-context.ts';
import { logEndOfDump } from '../cli/outcome.ts';
import { prepare, readConfigFile, readEnvironment } from '../cli/startup.ts';
import { CRIU_COMPATIBLE_VERSION, OWN_VERSION } from '../cli/version.ts';
import { decode } from '../image/codec.ts';
import { CriuOpts, type CriuReq, CriuReqType, type CriuResp } from '../image/gen/rpc.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import { fstat } from '../linux/syscalls/fs.ts';
import { tryWait } from '../linux/syscalls/process.ts';
import { type CommandName, findCommand } from '../options/commands.ts';
import type { ReadFile } from '../options/parse-command-line.ts';
import { parseRequest } from '../options/parse-request.ts';
import type { Client } from './client.ts';
import type { Connection } from './connection.ts';
import { failureResponse } from './failure-response.ts';
import { answerFeatures } from './features.ts';
import { ask, notifier, queryExternal } from './notify.ts';
import type { WorkerOptions } from './worker.ts';

/** One request, and all that belongs to it. */
export interface Work extends WorkerOptions {
  readonly connection: Connection;
  readonly client: Client;
  readonly request: CriuReq;
  /** The log of this request. */
  readonly sink: LogSink;
  /** Reads the configuration files of criu itself. */
  readonly readOwnFile: ReadFile;
}

/** After these the worker may serve the next request: they leave nothing behind. The list is CRIU's. */
const KEEPS_OPEN: ReadonlySet<CriuReqType> = new Set([
  CriuReqType.PAGE_SERVER,
  CriuReqType.PAGE_SERVER_CHLD,
  CriuReqType.CPUINFO_DUMP,
  CriuReqType.CPUINFO_CHECK,
  CriuReqType.FEATURE_CHECK,
  CriuReqType.VERSION,
]);

/** Requests that are commands: the words of the command line, and the type of the response where it is another. */
const COMMANDS: Partial<Record<CriuReqType, readonly [CommandName, ...string[]]>> = {
  [CriuReqType.DUMP]: ['dump'],
  [CriuReqType.RESTORE]: ['restore'],
  [CriuReqType.CHECK]: ['check'],
  [CriuReqType.PRE_DUMP]: ['pre-dump'],
  [CriuReqType.SINGLE_PRE_DUMP]: ['pre-dump'],
  [CriuReqType.PAGE_SERVER]: ['page-server'],
  [CriuReqType.PAGE_SERVER_CHLD]: ['page-server'],
  [CriuReqType.CPUINFO_DUMP]: ['cpuinfo', 'dump'],
  [CriuReqType.CPUINFO_CHECK]: ['cpuinfo', 'check'],
};

/** Does a request. Undefined when nobody is left to be answered. Never throws. */
export async function answer(work: Work): Promise<CriuResp | undefined> {
  const { request, sink } = work;
  const { type } = request;
  try {
    if (request.keep_open === true && !KEEPS_OPEN.has(type)) throw notKept(type);
    const words = COMMANDS[type];
    if (words !== undefined) return await answerCommand(work, ...words);
    if (type === CriuReqType.VERSION) return answerVersion();
    if (type === CriuReqType.FEATURE_CHECK) return answerFeatures(request);
    if (type === CriuReqType.WAIT_PID) return answerWait(request);
  } catch (error) {
    return failureResponse(responseType(type), error, sink);
  }
  const action = `Invalid req: type ${nameOf(type)} is no request`;
  return failureResponse(CriuReqType.EMPTY, new CriuError({ action }), sink);
}

/** As in CRIU, which has one answer for both. */
function responseType(type: CriuReqType): CriuReqType {
  return type === CriuReqType.PAGE_SERVER_CHLD ? CriuReqType.PAGE_SERVER : type;
}

function nameOf(type: CriuReqType): string {
  return Object.entries(CriuReqType).find(([, value]) => value === type)?.[0] ?? String(type);
}

function notKept(type: CriuReqType): CriuError {
  return new CriuError({
    action: `keep_open cannot be used with a request of type ${nameOf(type)}`,
    remedy: 'open a connection for each of them',
  });
}

async function answerCommand(work: Work, command: CommandName, ...args: string[]): Promise<CriuResp | undefined> {
  const { request, sink, client } = work;
  const type = responseType(request.type);
  let context: CommandContext | undefined;
  let restoredPid: number | undefined;
  try {
    refuseWhatIsNotBuilt(command);
    const module = await loadCommand(command);
    context = prepareRequest(work, command, args);
    const requestClient = clientOf(work, (pid) => {
      restoredPid = pid;
    });
    const status = await module.run({ ...context, client: requestClient });
    if (command === 'dump') logEndOfDump(sink.logger, status);
    if (status !== 0) throw endedWith(command, status);
  } catch (error) {
    return failureResponse(type, error, sink, { command, hasBegun: context !== undefined });
  }
  if (command === 'restore') return { type, success: true, restore: { pid: restoredPid ?? -1 } };
  if (command !== 'dump') return { type, success: true };
  // A client that has dumped itself is dead now; it gets its answer when it is restored.
  const { treePid, finalState } = context.options;
  const isSelfDump = request.opts?.pid === undefined && treePid === client.pid;
  return isSelfDump && finalState === 'dead' ? undefined : { type, success: true, dump: { restored: false } };
}

function refuseWhatIsNotBuilt(command: CommandName): void {
  if (findCommand(command)?.capability === 'built') return;
  throw new CriuError({ action: `${command} is not supported yet by this criu`, crErrno: ERRNO.EOPNOTSUPP });
}

/** A command is loaded only when it is asked for. */
async function loadCommand(command: CommandName): Promise<CommandModule> {
  switch (command) {
    case 'dump':
      return await import('../cli/commands/dump.ts');
    case 'restore':
      return await import('../cli/commands/restore.ts');
    case 'check':
      return await import('../cli/commands/check.ts');
    case 'cpuinfo':
      return await import('../cli/commands/cpuinfo.ts');
    default:
      throw new AssertionError(`only commands that can be requested are loaded, not ${command}`);
  }
}

/** Options, folders and log of a request. From here on this process has the rights of the client only. */
function prepareRequest(work: Work, command: CommandName, args: readonly string[]): CommandContext {
  const { request, client, sink } = work;
  const opts = request.opts ?? (command === 'check' ? NO_OPTIONS : undefined);
  if (opts === undefined) throw new CriuError({ action: 'the request has no options (opts)' });
  client.enterItsFolder();
  const folders = new Map<number, string>();
  for (const field of ['images_dir_fd', 'work_dir_fd'] as const) {
    const fd = opts[field];
    if (fd !== undefined && fd !== -1) folders.set(fd, client.folder(fd, field));
  }
  const { status_fd: statusFd } = opts;
  const status = statusFd === undefined ? {} : { status_fd: client.fetch(statusFd, 'status_fd') };
  const line = parseRequest(
    { ...opts, ...status },
    {
      command,
      args,
      words: work.words,
      env: readEnvironment(),
      readFile: work.readOwnFile,
      readClientFile: (path) => {
        client.becomeIt();
        return readConfigFile(path);
      },
      folder: (fd) => folders.get(fd) ?? '',
      clientPid: client.pid,
      isOwnWorker: work.isOwnWorker,
    },
  );
  client.becomeIt();
  sink.setLevel(line.options.logLevel);
  return prepare(sink, command, line);
}

/** A check needs none. */
const NO_OPTIONS = decode(
  CriuOpts,
  Uint8Array.of(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
  'opts',
);

function clientOf({ request, client, connection, sink }: Work, restored: (pid: number) => void): RequestClient {
  const isNotified = request.opts?.notify_scripts === true;
  return {
    socketInode: fstat(connection.fd).st_ino,
    notify: isNotified ? notifier(connection, sink.logger) : undefined,
    queryExternal: () => (isNotified ? queryExternal(connection, sink.logger) : []),
    offerMaster:
      isNotified && request.opts?.orphan_pts_master === true
        ? (fd) => void ask(connection, 'orphan-pts-master', undefined, fd)
        : undefined,
    borrowedCapabilities: client.borrowedCapabilities,
    restored,
  };
}

/** A command that has logged its failure and only returned a status. */
function endedWith(command: CommandName, status: number): CriuError {
  const action =
    command === 'check' ? 'Does not look good: the log says what the kernel lacks' : `ended with status ${status}`;
  return new CriuError({ object: command, action });
}

/** No gitid: callers take one for a build after the release and count it as the next. */
function answerVersion(): CriuResp {
  const { major, minor } = CRIU_COMPATIBLE_VERSION;
  const version = { major_number: major, minor_number: minor, name: `criu-ts ${OWN_VERSION}` };
  return { type: CriuReqType.VERSION, success: true, version };
}

/** For processes that a request of this worker has started, such as page servers. */
function answerWait({ pid = 0 }: CriuReq): CriuResp {
  const waited = pid > 0 && pid <= 0x7fff_ffff ? tryWait(pid) : -ERRNO.ECHILD;
  if (typeof waited === 'object') return { type: CriuReqType.WAIT_PID, success: true, status: waited.status };
  const errno = -(waited ?? -ERRNO.ECHILD);
  throw new CriuError({ action: `Unable to wait ${pid}: ${errnoName(errno)}`, crErrno: errno });
}
