/** A set of descriptor numbers: a byte for each, since they are dense, and a set for what would need too many bytes. */

/** What the kernel allows unless somebody has raised it (/proc/sys/fs/nr_open). */
const DENSE_MAX = 1 << 20;
const ROOM_MIN = 256;

export class NumberSet {
  #dense = new Uint8Array(ROOM_MIN);
  readonly #sparse = new Set<number>();

  has(number: number): boolean {
    return number < DENSE_MAX ? this.#dense[number] === 1 : this.#sparse.has(number);
  }

  add(number: number): void {
    if (number >= DENSE_MAX) {
      this.#sparse.add(number);
      return;
    }
    if (number >= this.#dense.length) this.#grow(number);
    this.#dense[number] = 1;
  }

  addRange(first: number, count: number): void {
    const end = first + count;
    if (end > DENSE_MAX) {
      for (let number = first; number < end; number++) this.add(number);
      return;
    }
    if (end > this.#dense.length) this.#grow(end - 1);
    this.#dense.fill(1, first, end);
  }

  /** Whether it was there. */
  delete(number: number): boolean {
    if (number >= DENSE_MAX) return this.#sparse.delete(number);
    if (this.#dense[number] !== 1) return false;
    this.#dense[number] = 0;
    return true;
  }

  #grow(number: number): void {
    const grown = new Uint8Array(Math.max(number + 1, 2 * this.#dense.length));
    grown.set(this.#dense);
    this.#dense = grown;
  }
}
