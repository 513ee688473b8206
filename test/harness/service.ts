/** A criu service for tests, in a folder of its own, ended by `Symbol.dispose`. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { criuBinary } from './criu-command.ts';
import { makeFolder, trackProcess } from './harness.ts';
import { RpcClient } from './rpc-client.ts';

export class Service {
  readonly dir: string;
  readonly #process: Bun.Subprocess;

  private constructor(dir: string, process: Bun.Subprocess) {
    this.dir = dir;
    this.#process = process;
  }

  static async start(): Promise<Service> {
    const dir = makeFolder('service');
    const args = ['service', '-W', dir, '--address', 'criu.socket', '-v4', '-o', 'service.log', '--pidfile', 'pid'];
    const child = Bun.spawn([criuBinary, ...args], { stdio: ['ignore', 'ignore', 'ignore'] });
    trackProcess(child.pid);
    const service = new Service(dir, child);
    for (let naps = 0; naps < 2500 && !existsSync(join(dir, 'pid')); naps++) await Bun.sleep(4);
    return service;
  }

  get address(): string {
    return join(this.dir, 'criu.socket');
  }

  get pid(): number {
    return this.#process.pid;
  }

  get log(): string {
    return readFileSync(join(this.dir, 'service.log'), 'utf8');
  }

  get isRunning(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  connect(): RpcClient {
    return RpcClient.connect(this.address);
  }

  /** Ends it by SIGTERM; its exit status. */
  async stop(): Promise<number> {
    this.#process.kill('SIGTERM');
    return await this.#process.exited;
  }
}
