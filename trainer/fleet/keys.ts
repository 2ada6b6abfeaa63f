import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { chmod, mkdir, open, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Key, Signature } from '@tufjs/models';
import { readIfThere, writeWhole } from '../../runtime/io/whole-file.ts';
import { Refusal } from '../refusal.ts';

/** Read, write or run for others than the owner. */
const OTHERS = 0o077;

/** Marks a key that metadata do not know yet. */
const NEXT = '.next';

/** A private key in memory. It never leaves this room: what is logged, printed or thrown has the public half at most. */
export interface SigningKey {
  readonly public: Key;
  sign(bytes: Uint8Array): Signature;
}

/** The public half as TUF writes it: `ed25519`, 32 bytes in hexadecimal (TUF 1.0.33, 4.2). */
function publicKey(key: KeyObject): Key {
  const { x } = key.export({ format: 'jwk' });
  const hex = Buffer.from(x!, 'base64url').toString('hex');
  // The key's id is the SHA-256 of its canonical form: keys in order, no spaces (4.2).
  const canonical = `{"keytype":"ed25519","keyval":{"public":"${hex}"},"scheme":"ed25519"}`;
  return new Key({
    keyID: createHash('sha256').update(canonical).digest('hex'),
    keyType: 'ed25519',
    scheme: 'ed25519',
    keyVal: { public: hex },
  });
}

function signingKey(secret: KeyObject): SigningKey {
  const shown = publicKey(createPublicKey(secret));
  return {
    public: shown,
    sign: (bytes) => new Signature({ keyID: shown.keyID, sig: sign(null, bytes, secret).toString('hex') }),
  };
}

/** @throws Refusal keys/mode where others than the owner can read or write it */
async function checkMode(path: string): Promise<void> {
  // Windows has no such bits.
  if (process.platform === 'win32') return;
  const { mode } = await stat(path);
  if ((mode & OTHERS) === 0) return;
  const allowed = (await stat(path)).isDirectory() ? '700' : '600';
  throw new Refusal('keys/mode', `${path} is open to others (mode ${(mode & 0o777).toString(8)}); run: chmod ${allowed} ${path}`);
}

/** A folder of private keys, `NAME.pem` each: Ed25519, PKCS#8, mode 0600 in a folder of mode 0700. */
export class KeyFolder {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  async #prepare(): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    await checkMode(this.folder);
  }

  /** @throws Refusal keys/there where the name is taken */
  async create(name: string): Promise<SigningKey> {
    await this.#prepare();
    const { privateKey } = generateKeyPairSync('ed25519');
    const path = join(this.folder, `${name}.pem`);
    const file = await open(path, 'wx', 0o600).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'EEXIST') throw new Refusal('keys/there', `${path} is there already; move it away first`, { cause });
      throw cause;
    });
    try {
      // Whatever the umask is.
      await chmod(path, 0o600);
      await file.writeFile(privateKey.export({ type: 'pkcs8', format: 'pem' }));
      await file.sync();
    } finally {
      await file.close();
    }
    return signingKey(privateKey);
  }

  /** Makes the key that shall follow `name`; it counts as soon as signed metadata know it, and not before. */
  async stage(name: string): Promise<SigningKey> {
    await this.#prepare();
    const { privateKey } = generateKeyPairSync('ed25519');
    await writeWhole(join(this.folder, `${name}${NEXT}.pem`), privateKey.export({ type: 'pkcs8', format: 'pem' }), 0o600);
    return signingKey(privateKey);
  }

  /**
   * The key `name`, or the one staged to follow it where that is the one known by now; it then takes its place, and the old one is gone.
   *
   * @throws Refusal keys/mode, keys/damaged
   */
  async current(name: string, keyIDs: readonly string[]): Promise<SigningKey | undefined> {
    const key = await this.read(name);
    if (key && keyIDs.includes(key.public.keyID)) return key;
    const next = await this.read(`${name}${NEXT}`);
    if (!next || !keyIDs.includes(next.public.keyID)) return undefined;
    await rename(join(this.folder, `${name}${NEXT}.pem`), join(this.folder, `${name}.pem`));
    return next;
  }

  /**
   * @returns undefined where there is no such key: it is kept elsewhere
   * @throws Refusal keys/mode, keys/damaged
   */
  async read(name: string): Promise<SigningKey | undefined> {
    const path = join(this.folder, `${name}.pem`);
    const pem = await readIfThere(path);
    if (!pem) return undefined;
    await checkMode(this.folder);
    await checkMode(path);
    try {
      const secret = createPrivateKey(Buffer.from(pem));
      if (secret.asymmetricKeyType !== 'ed25519') throw new Error(`is a key of type ${secret.asymmetricKeyType}`);
      return signingKey(secret);
    } catch (cause) {
      throw new Refusal('keys/damaged', `${path} is no Ed25519 private key in PEM (PKCS#8); bring back the copy you keep`, { cause });
    }
  }
}
