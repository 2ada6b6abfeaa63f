import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdir, open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/** A gateway's own Ed25519 key. */
export interface GatewayKey {
  readonly privateKey: KeyObject;
  /** 32 bytes, base64. */
  readonly publicKey: string;
}

/**
 * The gateway's key, made when there is none: PKCS #8, PEM, readable by its owner alone. It never leaves the device.
 *
 * @throws Error where the file is there and cannot be used; it is never replaced
 */
export async function gatewayKey(path: string): Promise<GatewayKey> {
  const kept = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  });
  const privateKey = kept === undefined ? await makeKey(path) : createPrivateKey(kept);
  if (privateKey.asymmetricKeyType !== 'ed25519')
    throw new Error(`${path} holds a key of type ${privateKey.asymmetricKeyType}, not ed25519`);
  return { privateKey, publicKey: rawPublicKey(privateKey) };
}

async function makeKey(path: string): Promise<KeyObject> {
  const { privateKey } = generateKeyPairSync('ed25519');
  await mkdir(dirname(path), { recursive: true });
  // wx: of two gateways that begin in one folder, one makes the key.
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(privateKey.export({ type: 'pkcs8', format: 'pem' }));
    await file.sync();
  } finally {
    await file.close();
  }
  return privateKey;
}

function rawPublicKey(privateKey: KeyObject): string {
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  return Buffer.from(x!, 'base64url').toString('base64');
}
