/** Descriptors of TUN and TAP devices. Each test has a network namespace of its own. */
import { expect } from 'bun:test';
import { checkRound, cleanUp, dump, makeImagesDir, roundTrip, startProgram } from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { inNetworkNamespace } from '../harness/network-namespace.ts';

for (const kind of ['', 'persistent']) {
  liveCase(`TUN and TAP descriptors get their ${kind === '' ? '' : `${kind} `}devices back`, () =>
    inNetworkNamespace(async () => {
      await roundTrip('tun', { args: kind === '' ? [] : [kind] });
      await cleanUp();
    }),
  );
}

liveCase('a TAP device that goes with the program and has an address is refused', () =>
  inNetworkNamespace(async () => {
    const specimen = await startProgram('tun', { args: ['address'] });
    const result = await dump(specimen, makeImagesDir(specimen, 'images'));
    expect(result.exitCode).toBe(1);
    expect(result.log).toContain(
      'its device st-tap goes when the program ends, and has an IPv4 address; make the device persistent ' +
        '(ip tuntap add dev st-tap mode tap)',
    );
    await checkRound(specimen, 1);
    await cleanUp();
  }),
);
