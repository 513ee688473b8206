/**
 * Which ends of files.img are planned as pairs (pair-columns.ts): those that one call makes and nobody else has to do with.
 * Each has one descriptor, both in the same table; no message carries it, no epoll watches it by its id. The rest of them
 * are entries, and become descriptions like other files.
 */
import type { DataRows, RowsKind } from '../../../image/data-rows.ts';
import type { EndRows } from '../../../image/end-rows.ts';
import { type FdinfoEntry, FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import type { OpenFiles } from '../../../image/open-files.ts';
import { FD_CLOEXEC } from '../../../linux/abi/fcntl.ts';
import type { FileKind, RestoreContext } from '../file-kind.ts';
import type { Table } from './description.ts';
import { NO_DESCRIPTOR, PairColumns, type PairKind, UNFIT } from './pair-columns.ts';

export interface ChosenPairs {
  readonly columns: PairColumns;
  /** Rows that are the first ends of pairs, by the lowest number of each. */
  readonly firsts: readonly number[];
  /** The files, where the ends that were not chosen are entries. */
  readonly files: OpenFiles;
  /** Kinds with data of which no row is the owner. */
  readonly withOtherData: readonly PairKind[];
}

/** Undefined when there are none. `kindOf`: the kind of files of that type. */
export function choosePairs(
  tables: readonly Table[],
  kindOf: (type: FdTypes) => FileKind | undefined,
  context: RestoreContext,
): ChosenPairs | undefined {
  const { files } = context.tree;
  const { ends } = files;
  if (ends === undefined) return undefined;
  // A descriptor of the controller may be meant by any of them.
  if (context.options.inheritFds.length > 0) return { ...NO_PAIRS(ends), files: withoutPairs(files, ends) };
  return new PairChooser(ends, tables, kindOf, context).choose();
}

const NO_PAIRS = (ends: EndRows) => ({ columns: new PairColumns(ends), firsts: [], withOtherData: [] });

const withoutPairs = (files: OpenFiles, ends: EndRows): OpenFiles =>
  files.withEntries?.(Array.from({ length: ends.count }, (_, row) => row)) ?? files;

class PairChooser {
  readonly #ends: EndRows;
  readonly #tables: readonly Table[];
  readonly #kindOf: (type: FdTypes) => FileKind | undefined;
  readonly #context: RestoreContext;
  readonly #columns: PairColumns;
  /** Rows by the inode of a socket, and the first one of a pipe. */
  readonly #sockets = new Map<number, number>();
  readonly #pipes = new Map<number, number>();
  /** Rows in the order of their descriptors, table by table. */
  readonly #order: number[] = [];

  constructor(
    ends: EndRows,
    tables: readonly Table[],
    kindOf: (type: FdTypes) => FileKind | undefined,
    context: RestoreContext,
  ) {
    this.#ends = ends;
    this.#tables = tables;
    this.#kindOf = kindOf;
    this.#context = context;
    this.#columns = new PairColumns(ends);
  }

  choose(): ChosenPairs {
    this.#collectNumbers();
    for (const [index, table] of this.#tables.entries()) this.#collectDescriptors(table, index);
    for (const entry of this.#context.tree.files.values()) this.#excludeNamedBy(entry);
    const kinds = this.#excludeSpecial();
    const withOtherData: PairKind[] = [];
    for (const [type, kind] of kinds) if (this.#collectData(type, kind)) withOtherData.push(kind);
    const firsts = this.#choose(kinds);
    const { files } = this.#context.tree;
    return { columns: this.#columns, firsts, withOtherData, files: files.withEntries?.(this.#others(firsts)) ?? files };
  }

  #collectNumbers(): void {
    const { count, numbers, peers } = this.#ends;
    const { partners } = this.#columns;
    const [sockets, pipes] = [this.#sockets, this.#pipes];
    for (let row = 0; row < count; row++) {
      const number = numbers[row] as number;
      const byNumber = this.#ends.typeAt(row) === FdTypes.PIPE ? pipes : sockets;
      const other = byNumber.get(number);
      if (other === undefined) byNumber.set(number, row);
      else if (byNumber === pipes && partners[other] === -1) {
        partners[other] = row;
        partners[row] = other;
      } else {
        this.#exclude(other);
        this.#exclude(row);
      }
    }
    for (const row of sockets.values()) partners[row] = sockets.get(peers[row] as number) ?? -1;
  }

  #exclude(row: number | undefined): void {
    if (row !== undefined) this.#columns.fds[row] = UNFIT;
  }

  #collectDescriptors({ owner }: Table, index: number): void {
    const { fds, isCloexec, homes } = this.#columns;
    let before = -1;
    for (const fdinfo of owner.fds as readonly FdinfoEntry[]) {
      const { id, fd, type, flags } = fdinfo;
      const isTwice = fd === before;
      before = fd;
      if (type !== FdTypes.UNIXSK && type !== FdTypes.PIPE) continue;
      const row = this.#ends.rowOf(id);
      if (row < 0) continue;
      if (fds[row] !== NO_DESCRIPTOR || isTwice || fd > FD_MAX || type !== this.#ends.typeAt(row)) {
        fds[row] = UNFIT;
        continue;
      }
      fds[row] = fd;
      isCloexec[row] = flags & FD_CLOEXEC;
      homes[row] = index;
      this.#order.push(row);
    }
  }

  /** What an entry has to do with. */
  #excludeNamedBy(entry: FileEntry): void {
    const { usk, pipe } = entry;
    for (const id of this.#kindOf(entry.type)?.needsAtLast?.(entry) ?? []) this.#excludeFile(id);
    if (pipe !== undefined) this.#excludePipe(pipe.pipe_id);
    if (usk === undefined) return;
    for (const ino of [usk.ino, usk.peer]) this.#exclude(this.#sockets.get(ino));
    for (const { peer } of usk.pending_ext) this.#exclude(this.#sockets.get(peer));
  }

  #excludeFile(id: number): void {
    const row = this.#ends.rowOf(id);
    if (row >= 0) this.#exclude(row);
  }

  #excludePipe(number: number): void {
    this.#exclude(this.#pipes.get(number));
  }

  /** Returns the kinds of those that are left. */
  #excludeSpecial(): Map<FdTypes, PairKind> {
    const { count, kinds, kindCount } = this.#ends;
    const pairKinds = new Map<FdTypes, PairKind>();
    const isPlain: boolean[] = [];
    for (let kind = 0; kind < kindCount; kind++) {
      const end = this.#ends.template(kind);
      const pairs = this.#kindOf(end.type)?.pairs;
      isPlain.push(pairs?.isPlain(end, this.#context) === true);
      if (pairs !== undefined) pairKinds.set(end.type, pairs);
    }
    for (let row = 0; row < count; row++) if (!isPlain[kinds[row] as number]) this.#exclude(row);
    return pairKinds;
  }

  /** Data of an end is in rows that follow each other; more than that is for others. Returns whether some is of no row. */
  #collectData(type: FdTypes, kind: PairKind): boolean {
    const data = kind.data(this.#context);
    let hasOthers = false;
    const { dataAt, dataCount } = this.#columns;
    const byNumber = type === FdTypes.PIPE ? this.#pipes : this.#sockets;
    for (let i = 0; i < data.count; i++) {
      const other = data.others.get(i);
      if (other !== undefined) {
        this.#excludeOwner(kind, byNumber, other);
        hasOthers = true;
        continue;
      }
      const owner = data.owners[i] as number;
      const row = kind.dataOwner === 'id' ? this.#ends.rowOf(owner) : (byNumber.get(owner) ?? -1);
      if (row < 0) {
        hasOthers = true;
        continue;
      }
      const known = dataCount[row] as number;
      if (known === 0) dataAt[row] = i;
      else if ((dataAt[row] as number) + known !== i) this.#exclude(row);
      dataCount[row] = known + 1;
    }
    for (const row of byNumber.values()) {
      const count = dataCount[row] as number;
      if (count > 0 && !kind.canFill(data, dataAt[row] as number, count, this.#context)) this.#exclude(row);
    }
    return hasOthers;
  }

  #excludeOwner(kind: PairKind, byNumber: ReadonlyMap<number, number>, element: Element): void {
    const { message } = element;
    if ('pipe_id' in message) this.#exclude(kind.dataOwner === 'id' ? undefined : byNumber.get(message.pipe_id));
    else {
      this.#excludeFile(message.id_for);
      for (const { rights } of message.scm) for (const id of rights) this.#excludeFile(id);
    }
  }

  #choose(kinds: ReadonlyMap<FdTypes, PairKind>): number[] {
    const { fds, partners } = this.#columns;
    // Whoever is not chosen takes the other end along.
    for (const row of this.#order) {
      const partner = partners[row] as number;
      const pairs = kinds.get(this.#ends.typeAt(row));
      if (partner >= 0 && pairs !== undefined && this.#isPair(row, partner, pairs)) continue;
      fds[row] = UNFIT;
      if (partner >= 0) fds[partner] = UNFIT;
    }
    const firsts: number[] = [];
    for (const row of this.#order) {
      const partner = partners[row] as number;
      // Each pair once: by its lower number.
      if (fds[row] === UNFIT || (fds[partner] as number) < (fds[row] as number)) continue;
      const pairs = kinds.get(this.#ends.typeAt(row));
      firsts.push(pairs?.fits(this.#templateOf(row), this.#templateOf(partner)) === true ? row : partner);
    }
    return firsts;
  }

  #isPair(row: number, partner: number, pairs: PairKind): boolean {
    const { fds, homes, isCloexec, partners } = this.#columns;
    if (partner === row || partners[partner] !== row) return false;
    if ((fds[row] as number) < 0 || (fds[partner] as number) < 0) return false;
    if (homes[row] !== homes[partner] || isCloexec[row] !== isCloexec[partner]) return false;
    if (!this.#isMadeAtHome(row) || !this.#isMadeAtHome(partner)) return false;
    const [one, other] = [this.#templateOf(row), this.#templateOf(partner)];
    return pairs.fits(one, other) || pairs.fits(other, one);
  }

  /** The peer of a socket may see who has made it. */
  #isMadeAtHome(row: number): boolean {
    const maker = this.#templateOf(row).usk?.peer_cred_ext?.pid;
    if (maker === undefined || this.#tables.length === 1) return true;
    return this.#tables[this.#columns.homes[row] as number]?.owner.pid === maker;
  }

  #templateOf(row: number): FileEntry {
    return this.#ends.template(this.#ends.kinds[row] as number);
  }

  #others(firsts: readonly number[]): number[] {
    const isChosen = new Uint8Array(this.#ends.count);
    for (const row of firsts) {
      isChosen[row] = 1;
      isChosen[this.#columns.partnerOf(row)] = 1;
    }
    const others: number[] = [];
    for (let row = 0; row < isChosen.length; row++) if (isChosen[row] === 0) others.push(row);
    return others;
  }
}

type Element = ReturnType<DataRows<RowsKind>['element']>;

const FD_MAX = 0x7fff_fffe;
