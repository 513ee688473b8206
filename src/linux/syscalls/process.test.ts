import { expect, test } from 'bun:test';
import { withDescriptorLimit } from './descriptor-limit.test-support.ts';
import { descriptorLimit, tryRaiseDescriptorLimit } from './process.ts';

test('the limit of descriptors is raised to what is needed, and never lowered', () => {
  withDescriptorLimit(300, () => {
    expect(descriptorLimit()).toBe(300);
    expect(tryRaiseDescriptorLimit(200)).toBe(0);
    expect(descriptorLimit()).toBe(300);
    expect(tryRaiseDescriptorLimit(400)).toBe(0);
    expect(descriptorLimit()).toBe(400);
  });
});
