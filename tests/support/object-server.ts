import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { ObjectStore } from '../../trainer/server/object-store.ts';
import { freePort } from './live-gateway.ts';

/** SeaweedFS, an S3-compatible store in one program. */
const WEED = process.env.TREMOLO_WEED ?? 'weed';

export const OBJECT_SERVER = spawnSync(WEED, ['version']).status === 0;

/** Appended to the name of what is skipped. */
export const WHY_NO_OBJECT_SERVER = OBJECT_SERVER ? '' : ' (skipped: no weed of SeaweedFS on the path, nor by TREMOLO_WEED)';

export const KEY = 'the-key';
export const SECRET = 'the/secret+of=the/key';
export const BUCKET = 'models';

/** A server with one bucket, which keeps what it has in `folder`. @returns ends it */
export async function startObjectServer(folder: string, port: number): Promise<() => Promise<unknown>> {
  mkdirSync(folder, { recursive: true });
  const config = join(folder, 's3.json');
  const credentials = join(folder, 'credentials');
  const identity = { name: 'tests', credentials: [{ accessKey: KEY, secretKey: SECRET }], actions: ['Admin', 'Read', 'Write', 'List'] };
  writeFileSync(config, JSON.stringify({ identities: [identity] }));
  writeFileSync(credentials, `${KEY}:${SECRET}\n`, { mode: 0o600 });
  const ports = ['master.port', 'master.port.grpc', 'volume.port', 'volume.port.grpc', 'filer.port', 'filer.port.grpc', 's3.port.grpc'];
  const given: string[] = [];
  for (const name of ports) given.push(`-${name}=${await freePort()}`);
  const child: ChildProcess = spawn(
    WEED,
    [
      ...['server', `-dir=${folder}`, '-ip=127.0.0.1', '-ip.bind=127.0.0.1', '-volume.max=4', '-master.volumeSizeLimitMB=64'],
      ...['-filer', '-s3', `-s3.port=${port}`, `-s3.config=${config}`, '-s3.port.iceberg=0', '-s3.port.lance=0', ...given],
      '-master.telemetry=false',
    ],
    { stdio: 'ignore' },
  );
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const store = new ObjectStore({
    endpoint: `http://127.0.0.1:${port}`,
    bucket: BUCKET,
    region: 'us-east-1',
    prefix: '',
    credentialsFile: credentials,
  });
  // Without a name it is the bucket itself that is made, if it is not there from before.
  const makeBucket = () => store.put('', new Uint8Array(0)).catch((error: Error) => expect(error.message).toContain('BucketAlready'));
  await vi.waitFor(makeBucket, { timeout: 30_000, interval: 50 });
  return () => {
    child.kill('SIGKILL');
    return gone;
  };
}
