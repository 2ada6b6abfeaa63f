/** Platforms that `tremolo pack` makes a folder for. */
export interface PackTarget {
  readonly engine: 'onnxruntime' | 'wasm';
  /** Folder of onnxruntime-node's libraries below bin/napi-v6. */
  readonly onnxruntime?: string;
  /** Libraries for serial ports: prebuilds of @serialport/bindings-cpp, by the name that the packed program looks for. */
  readonly serial: Readonly<Record<string, string>>;
  /** e_machine of the platform's programs (ELF header, bytes 18 and 19); undefined where any will do. */
  readonly elfMachine?: number;
  /** As process.platform and process.arch say it. */
  readonly node?: `${string}-${string}`;
}

const PREFIX = '@serialport+bindings-cpp.';
const x64 = { glibc: `linux-x64/${PREFIX}glibc.node`, musl: `linux-x64/${PREFIX}musl.node` };
const arm64 = { glibc: `linux-arm64/${PREFIX}armv8.glibc.node`, musl: `linux-arm64/${PREFIX}armv8.musl.node` };
const armv7 = { glibc: `linux-arm/${PREFIX}armv7.glibc.node`, musl: `linux-arm/${PREFIX}armv7.musl.node` };

export const PACK_TARGETS = {
  'linux-arm64': {
    engine: 'onnxruntime',
    onnxruntime: 'linux/arm64',
    serial: { serialport: arm64.glibc },
    elfMachine: 183,
    node: 'linux-arm64',
  },
  'linux-x64': { engine: 'onnxruntime', onnxruntime: 'linux/x64', serial: { serialport: x64.glibc }, elfMachine: 62, node: 'linux-x64' },
  'linux-armv7': {
    engine: 'wasm',
    serial: { 'serialport-arm-glibc': armv7.glibc, 'serialport-arm-musl': armv7.musl },
    elfMachine: 40,
    node: 'linux-arm',
  },
  any: {
    engine: 'wasm',
    serial: {
      'serialport-x64-glibc': x64.glibc,
      'serialport-x64-musl': x64.musl,
      'serialport-arm64-glibc': arm64.glibc,
      'serialport-arm64-musl': arm64.musl,
      'serialport-arm-glibc': armv7.glibc,
      'serialport-arm-musl': armv7.musl,
    },
  },
} as const satisfies Record<string, PackTarget>;

export type PackTargetName = keyof typeof PACK_TARGETS;
export const PACK_TARGET_NAMES = Object.keys(PACK_TARGETS) as PackTargetName[];
