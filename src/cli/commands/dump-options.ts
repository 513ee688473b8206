/** What the options of the command line, or of a request, mean for a dump. */
import type { FreezerCgroup } from '../../dump/freezer-cgroup.ts';
import type { DumpOptions } from '../../dump/inspect-tree.ts';
import type { CommandContext } from '../command-context.ts';
import type { DumpNetworkOptions } from './dump-network.ts';

export function networkOptions(
  { options }: CommandContext,
  runId: string,
  hook: DumpNetworkOptions['hook'],
): DumpNetworkOptions {
  const { networkLock, tcpEstablished, tcpClose, treePid, external } = options;
  const isEmpty = options.emptyNamespaces.length > 0;
  return { networkLock, tcpEstablished, tcpClose, rootPid: treePid, runId, isEmpty, external, hook };
}

export function dumpOptions(
  { options, client }: CommandContext,
  freezer: FreezerCgroup | undefined,
): Omit<DumpOptions, 'runId' | 'aftermath'> {
  const external = [...options.external, ...(client?.queryExternal() ?? [])];
  const { linkRemap, fileLocks, ghostLimitBytes, evasiveDevices, fileValidation, shellJob } = options;
  const { tcpEstablished, tcpClose, skipInFlight } = options;
  const keysOf = (wanted: string) => new Set(external.filter(({ type }) => type === wanted).map(({ key }) => key));
  return {
    linkRemap,
    ghostLimitBytes,
    evasiveDevices,
    fileValidation,
    fileLocks,
    shellJob,
    tcpEstablished,
    tcpClose,
    skipInFlight,
    irmap: { isForced: options.forceIrmap, scanPaths: options.irmapScanPaths },
    externalFiles: keysOf('file'),
    externalTerminals: keysOf('tty'),
    externalUnixSockets: options.externalUnixSockets,
    externalUnixInodes: new Set([
      ...options.externalUnixInodes,
      ...external.filter(({ type }) => type === 'unix').map(({ id }) => Number(id)),
    ]),
    hasOwnMounts: false,
    serviceSocketInode: client?.socketInode,
    orphanMasters: client?.offerMaster !== undefined,
    cgroups: {
      isIgnored: options.manageCgroups === 'ignore',
      roots: options.cgroupRoots,
      yard: options.cgroupYard,
      controllers: options.cgroupDumpControllers,
      properties: options.cgroupProps,
      propertiesFile: options.cgroupPropsFile,
      ignoresDefaultProperties: options.cgroupPropsIgnoreDefault,
      freezer,
    },
  };
}
