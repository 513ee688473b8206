/** What is left to do outside the images when it is known whether the tree of a dump goes on. */
export class Aftermath {
  readonly #undo: (() => void)[] = [];
  readonly #handOver: (() => void)[] = [];

  /** For a dump that failed, or left the tree running. The last is done first. */
  onRollback(action: () => void): void {
    this.#undo.push(action);
  }

  /** For a tree that does not go on here. */
  onHandOver(action: () => void): void {
    this.#handOver.push(action);
  }

  /** The tree goes on: takes back what was done to it, once. */
  rollback(): void {
    for (const undo of this.#undo.splice(0).reverse()) undo();
  }

  /** The tree is about to end: what it had belongs to the images, and nothing is taken back from now on. */
  commit(): void {
    this.#undo.length = 0;
  }

  /** The tree cannot run any more. */
  handOver(): void {
    for (const action of this.#handOver.splice(0)) action();
  }
}
