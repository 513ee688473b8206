/** The options of Internet sockets, of many at once: most have those of the one before. */
import { keepEncoded } from '../../../image/codec.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import type { SkOptsEntry } from '../../../image/gen/sk-opts.ts';
import * as INET from '../../../linux/abi/inet.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import type { SecondCore } from '../../../tracee/second-core.ts';
import type { KindDump, Unsupported } from '../file-kind.ts';
import { readGroups } from '../socket-options/multicast.ts';
import { withoutMeasured } from '../socket-options/option-rows.ts';
import type { ValueSet } from '../socket-options/option-values.ts';
import { KnownOptions } from '../socket-options/socket-options.ts';
import { isTcp } from './endpoint.ts';
import { type InetKind, inetOptionSpecs, readIpOptions, readTcpOptions } from './inet-options.ts';

/** What an entry has of the options. */
export type InetOptions = Pick<InetSkEntry, 'opts' | 'ip_opts' | 'tcp_opts' | 'v6only'>;

/** More rows would not be in the processor's cache any more. */
const ROWS_MAX = 64;

/** Reads sockets of a kind. One at a time in a dump. */
export class InetReader {
  readonly #kind: InetKind;
  readonly #known: KnownOptions;
  readonly #dump: KindDump;
  readonly #described = new WeakMap<ValueSet, InetOptions>();

  /** For `count` of them at once. */
  constructor(kind: InetKind, count: number, dump: KindDump) {
    this.#kind = kind;
    this.#dump = dump;
    this.#known = new KnownOptions(kind, {
      more: inetOptionSpecs(kind, isTcp(kind)),
      rows: Math.min(count, ROWS_MAX),
    });
  }

  /** Throws SyscallError. */
  read(fd: number): InetOptions | Unsupported {
    return this.#describe(fd, this.#known.reader.values.read(fd));
  }

  /** Reads sockets in order, with another core half of them there. */
  readAll(
    fds: readonly number[],
    take: (index: number, options: () => InetOptions | Unsupported) => void,
    core: SecondCore | undefined,
  ): void {
    this.#known.reader.values.readAll(
      fds,
      (index, values) => take(index, () => this.#describe(fds[index] ?? -1, values)),
      core,
    );
  }

  #describe(fd: number, set: ValueSet): InetOptions | Unsupported {
    const kind = this.#kind;
    const groups = this.#dump.state('multicast groups', readGroups);
    const opts = this.#known.describe(fd, set, groups);
    if ('unsupported' in opts) return opts;
    // What raw sockets have, is asked in another way.
    const described = kind.type === SOCKET.SOCK_RAW ? undefined : this.#described.get(set);
    if (described?.opts === opts) return described;
    const { values } = this.#known.reader;
    const options: InetOptions = {
      opts,
      ip_opts: readIpOptions(fd, values, kind),
      tcp_opts: isTcp(kind) ? readTcpOptions(values) : {},
    };
    if (kind.family === SOCKET.AF_INET6) options.v6only = values.int(INET.SOL_IPV6, INET.IPV6_V6ONLY) !== 0;
    this.#described.set(set, options);
    return options;
  }
}

/** Equal options of many sockets are one object, and so are these. */
const ofConnections = new WeakMap<SkOptsEntry, SkOptsEntry>();

/** Those of a connection. */
export function optionsOfConnection(kind: InetKind, opts: SkOptsEntry): SkOptsEntry {
  if (opts.options_ext.length === 0) return opts;
  let known = ofConnections.get(opts);
  if (known === undefined) {
    known = keepEncoded({ ...opts, options_ext: withoutMeasured(kind, opts.options_ext) });
    ofConnections.set(opts, known);
  }
  return known;
}
