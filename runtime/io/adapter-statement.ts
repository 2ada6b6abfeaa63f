import { createPublicKey, sign, verify } from 'node:crypto';
import { sha256 } from '../../models/bundle/bundle.ts';
import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import { decodeSafetensors, encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { CodedRefusal } from '../../models/checks/refusal.ts';
import { floatTensor } from '../../models/engine/engine.ts';
import { ParameterLayout } from '../../models/networks/parameters.ts';
import { type AdapterStatement, adapterStatementSchema } from '../contracts/adaptation.ts';
import type { GatewayKey } from './gateway-key.ts';

type Shapes = Pick<Manifest, 'adapterTensors'>;

function layoutOf({ adapterTensors }: Shapes): ParameterLayout {
  return new ParameterLayout(adapterTensors.map(({ name, shape }) => ({ name, shape, initial: { fill: 0 } })));
}

/** Float32, little-endian, whatever machine this is. */
function digestOf(values: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, index) => {
    bytes.setFloat32(4 * index, value, true);
  });
  return sha256(new Uint8Array(bytes.buffer));
}

/** An adapter with what its gateway says of it, as one safetensors file. @param values as trained, [P] */
export function signAdapter(
  manifest: Shapes & Pick<Manifest, 'adapter'>,
  values: Float32Array,
  told: Omit<AdapterStatement, 'values' | 'publicKey'>,
  { privateKey, publicKey }: GatewayKey,
): Uint8Array {
  const statement = JSON.stringify({ ...told, values: digestOf(values), publicKey } satisfies AdapterStatement);
  const tensors = Object.fromEntries(
    layoutOf(manifest).parameters.map(({ name, shape, offset, size }) => [name, floatTensor(values.slice(offset, offset + size), shape)]),
  );
  const signature = sign(null, Buffer.from(statement), privateKey).toString('base64');
  return encodeSafetensors({ tensors, metadata: { base: told.base, scheme: JSON.stringify(manifest.adapter), statement, signature } });
}

/** Why a learned adapter is not what it says. */
export class StatementRefusal extends CodedRefusal<'adapter/statement'> {}

/**
 * What a gateway says of an adapter, proved to be of the key that it names and about these numbers. Whether that key is the gateway's, and whether what it
 * says is so, remains to be seen.
 *
 * @throws BundleRefusal where it is no safetensors file, StatementRefusal where signature, base or numbers do not belong together
 */
export function readStatement(manifest: Shapes, bytes: Uint8Array, name: string): AdapterStatement {
  const { tensors, metadata } = decodeSafetensors(bytes, name);
  const refuse = (what: string, cause?: unknown) => new StatementRefusal('adapter/statement', `${name}: ${what}`, { cause });
  if (metadata.statement === undefined || metadata.signature === undefined) throw refuse('was not signed by a gateway');
  let statement: AdapterStatement;
  let signed: boolean;
  try {
    statement = adapterStatementSchema.parse(JSON.parse(metadata.statement));
    const x = Buffer.from(statement.publicKey, 'base64').toString('base64url');
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
    signed = verify(null, Buffer.from(metadata.statement), key, Buffer.from(metadata.signature, 'base64'));
  } catch (cause) {
    throw refuse(`has a statement that cannot be read (${(cause as Error).message.split('\n')[0]})`, cause);
  }
  if (!signed) throw refuse('has a signature of another key than the statement names');
  if (metadata.base !== statement.base) throw refuse('names another base than its statement');
  const layout = layoutOf(manifest);
  const values = new Float32Array(layout.size);
  for (const { name: tensor, offset, size } of layout.parameters) {
    const own = tensors[tensor]?.values;
    if (!(own instanceof Float32Array) || own.length !== size) throw refuse(`lacks tensor ${tensor} of ${size} numbers`);
    values.set(own, offset);
  }
  if (digestOf(values) !== statement.values) throw refuse('holds other numbers than its statement is about');
  return statement;
}
