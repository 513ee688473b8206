/**
 * All options of criu as one typed value, whoever set them: command line, configuration file or RPC.
 *
 * Paths and names are byte strings (one char a byte). The table that fills this in is `option-table.ts`; nothing below
 * `cli/` and `rpc/` takes the whole of it, only the fields it needs.
 */

/** What becomes of the tree afterwards: killed (default of dump), left running, left stopped. */
export type FinalState = 'dead' | 'alive' | 'stopped';
/** How cgroups are restored; 'default' is what nobody asked for, and means soft. */
export type ManageCgroupsMode = 'default' | 'ignore' | 'none' | 'props' | 'soft' | 'full' | 'strict';
export type NetworkLockMethod = 'iptables' | 'nftables' | 'skip';
export type PreDumpMode = 'splice' | 'read';
export type FileValidationMethod = 'filesize' | 'buildid';
export type JoinNamespaceType = 'net' | 'uts' | 'time' | 'ipc' | 'user' | 'mnt';

/** Which CPU capabilities are written on dump and compared on restore. */
export interface CpuCapabilities {
  readonly fpu: boolean;
  readonly cpu: boolean;
  readonly ins: boolean;
  /** True when --cpu-cap was given and is not "none": dump then writes cpuinfo.img, restore then reads it. */
  readonly image: boolean;
}

/** `--external TYPE[ID]:VALUE`, and what older spellings mean in it. */
export interface ExternalResource {
  /** As given: "file[1f:2a]", "mnt[/data]:name". CRIU's callers look keys up in this form. */
  readonly key: string;
  /** The part before "["; the whole key when there is none. */
  readonly type: string;
  /** Between the brackets; undefined when there are none. */
  readonly id: string | undefined;
  /** After "]:"; undefined when absent. */
  readonly value: string | undefined;
}

/** `--inherit-fd fd[FD]:KEY`. KEY is `pipe:[INO]`, `socket:[INO]`, `file[MNT:INO]`, `tty[RDEV:DEV]`, `/memfd:NAME`, a path… */
export interface InheritFd {
  readonly fd: number;
  readonly key: string;
}

/** `--join-ns TYPE:PID or FILE[,UID,GID]`. */
export interface JoinNamespace {
  readonly type: JoinNamespaceType;
  /** A pid in decimal, or the path of a namespace file. */
  readonly source: string;
  /** User namespace only. */
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

/** `--cgroup-root [CONTROLLER:]/PATH`; no controller means all of them. */
export interface CgroupRoot {
  readonly controller: string | undefined;
  readonly path: string;
}

/** Fields are writable for the parser only; contexts carry `Readonly<CriuOptions>`. */
export interface CriuOptions {
  // Logging and files
  logLevel: number;
  /** undefined: stderr; '-': stdout. Relative to the work directory. */
  logFile: string | undefined;
  logPid: boolean;
  displayStats: boolean;
  imagesDir: string;
  /** undefined: the images directory. */
  workDir: string | undefined;
  prevImagesDir: string | undefined;
  pidfile: string | undefined;
  pluginDir: string | undefined;
  closeFds: number[];
  statusFd: number | undefined;
  actionScripts: string[];
  configFile: string | undefined;
  noDefaultConfig: boolean;
  deprecatedOk: boolean;
  unprivileged: boolean;
  stream: boolean;

  // What to dump or restore, and what becomes of it
  /** Root of the tree; 0 when not given. */
  treePid: number;
  finalState: FinalState;
  /** -d; shared with --daemon, as in CRIU. */
  detached: boolean;
  restoreSibling: boolean;
  execCmd: boolean;
  root: string | undefined;
  timeoutSeconds: number;
  shellJob: boolean;
  cpuCap: CpuCapabilities;
  freezeCgroup: string | undefined;
  allowUprobes: boolean;

  // Files
  evasiveDevices: boolean;
  linkRemap: boolean;
  fileLocks: boolean;
  ghostLimitBytes: number;
  ghostFiemap: boolean;
  forceIrmap: boolean;
  irmapScanPaths: string[];
  skipFileRwxCheck: boolean;
  fileValidation: FileValidationMethod;
  inheritFds: InheritFd[];
  external: ExternalResource[];
  /** -x / --ext-unix-sk without or with inodes. */
  externalUnixSockets: boolean;
  externalUnixInodes: number[];

  // Mounts
  externalMountsAuto: boolean;
  externalSharing: boolean;
  externalMasters: boolean;
  skipMounts: string[];
  enableFilesystems: string[];
  mntnsCompatMode: boolean;

  // Namespaces, network, cgroups, security
  emptyNamespaces: 'net'[];
  joinNamespaces: JoinNamespace[];
  tcpEstablished: boolean;
  tcpClose: boolean;
  skipInFlight: boolean;
  networkLock: NetworkLockMethod;
  weakSysctls: boolean;
  manageCgroups: ManageCgroupsMode;
  cgroupRoots: CgroupRoot[];
  cgroupProps: string | undefined;
  cgroupPropsFile: string | undefined;
  cgroupPropsIgnoreDefault: boolean;
  cgroupDumpControllers: string[];
  cgroupYard: string | undefined;
  lsmProfile: string | undefined;
  lsmMountContext: string | undefined;

  // Memory
  trackMem: boolean;
  /** Fork tasks that go on, instead of copying all memory while they are frozen. */
  cowDump: boolean;
  /** Restored tasks run before all of their memory is there. */
  runAtOnce: boolean;
  preDumpMode: PreDumpMode;
  autoDedup: boolean;
  lazyPages: boolean;
  pageServer: boolean;
  address: string | undefined;
  /** 0 when not given. */
  port: number;
  psSocket: number | undefined;
  tls: boolean;
  tlsCaCert: string | undefined;
  tlsCaCrl: string | undefined;
  tlsCert: string | undefined;
  tlsKey: string | undefined;
  tlsNoCnVerify: boolean;

  // check
  checkExtra: boolean;
  checkExperimental: boolean;
  checkFeature: string | undefined;
}

/** What holds when nothing is given; the numbers are CRIU's (criu/config.c init_opts(), 4.2). */
export function defaultOptions(): CriuOptions {
  return {
    logLevel: 2,
    logFile: undefined,
    logPid: false,
    displayStats: false,
    imagesDir: '.',
    workDir: undefined,
    prevImagesDir: undefined,
    pidfile: undefined,
    pluginDir: undefined,
    closeFds: [],
    statusFd: undefined,
    actionScripts: [],
    configFile: undefined,
    noDefaultConfig: false,
    deprecatedOk: false,
    unprivileged: false,
    stream: false,
    treePid: 0,
    finalState: 'dead',
    detached: false,
    restoreSibling: false,
    execCmd: false,
    root: undefined,
    timeoutSeconds: 10,
    shellJob: false,
    cpuCap: { fpu: true, cpu: false, ins: true, image: false },
    freezeCgroup: undefined,
    allowUprobes: false,
    evasiveDevices: false,
    linkRemap: false,
    fileLocks: false,
    ghostLimitBytes: 1024 * 1024,
    ghostFiemap: true,
    forceIrmap: false,
    irmapScanPaths: [],
    skipFileRwxCheck: false,
    fileValidation: 'buildid',
    inheritFds: [],
    external: [],
    externalUnixSockets: false,
    externalUnixInodes: [],
    externalMountsAuto: false,
    externalSharing: false,
    externalMasters: false,
    skipMounts: [],
    enableFilesystems: [],
    mntnsCompatMode: false,
    emptyNamespaces: [],
    joinNamespaces: [],
    tcpEstablished: false,
    tcpClose: false,
    skipInFlight: false,
    networkLock: 'iptables',
    weakSysctls: false,
    manageCgroups: 'default',
    cgroupRoots: [],
    cgroupProps: undefined,
    cgroupPropsFile: undefined,
    cgroupPropsIgnoreDefault: false,
    cgroupDumpControllers: [],
    cgroupYard: undefined,
    lsmProfile: undefined,
    lsmMountContext: undefined,
    trackMem: false,
    cowDump: true,
    runAtOnce: false,
    preDumpMode: 'splice',
    autoDedup: false,
    lazyPages: false,
    pageServer: false,
    address: undefined,
    port: 0,
    psSocket: undefined,
    tls: false,
    tlsCaCert: undefined,
    tlsCaCrl: undefined,
    tlsCert: undefined,
    tlsKey: undefined,
    tlsNoCnVerify: false,
    checkExtra: false,
    checkExperimental: false,
    checkFeature: undefined,
  };
}
