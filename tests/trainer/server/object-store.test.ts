import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { Refusal } from '../../../trainer/refusal.ts';
import { ObjectStore, StoreAway } from '../../../trainer/server/object-store.ts';

/** What the next requests are answered. */
let answer: { status: number; body: string };
let authorization: string | undefined;
let server: Server;
beforeAll(async () => {
  server = createServer(({ headers }, response) => {
    authorization = headers.authorization;
    response.writeHead(answer.status).end(answer.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => server.close());
afterEach(() => vi.unstubAllEnvs());

function storeOf({ scheme = 'http', key = 'key', secret = 'secret' } = {}) {
  vi.stubEnv('AWS_ACCESS_KEY_ID', key);
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', secret);
  const endpoint = `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return new ObjectStore({ endpoint, bucket: 'models', region: 'us-east-1', prefix: '' });
}

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => expect.fail('it did not fail'),
    (error: Error) => error,
  );

it.each([
  [400, 'RequestTimeout', StoreAway],
  [400, 'InvalidDigest', Refusal],
  [403, 'RequestTimeTooSkewed', StoreAway],
  [403, 'ExpiredToken', StoreAway],
  [403, 'AccessDenied', Refusal],
  [408, '', StoreAway],
  [409, 'OperationAborted', StoreAway],
  [429, '', StoreAway],
  [500, 'InternalError', StoreAway],
  [501, 'NotImplemented', Refusal],
  [503, 'SlowDown', StoreAway],
])('an answer %i %s is waited out, or is final', async (status, code, kind) => {
  answer = { status, body: code && `<?xml version="1.0"?><Error><Code>${code}</Code></Error>` };
  const error = await failureOf(storeOf().put('x', new Uint8Array(1)));
  expect(error).toBeInstanceOf(kind);
  expect(error.message).toContain(`(${code || status})`);
});

it('a server that is no store, or speaks no TLS, is refused', async () => {
  answer = { status: 200, body: '<html>welcome</html>' };
  const said = [await failureOf(storeOf().list('')), await failureOf(storeOf({ scheme: 'https' }).list(''))];
  for (const error of said) expect(error).toMatchObject({ code: 'server/objects', message: expect.stringContaining('the endpoint') });
});

it('credentials are trimmed, and never quoted', async () => {
  answer = { status: 200, body: '' };
  await storeOf({ key: ' key\n', secret: 'secret\n' }).put('x', new Uint8Array(1));
  expect(authorization).toContain('Credential=key/');
  const error = await failureOf(storeOf({ key: 'THE\nKEY' }).put('x', new Uint8Array(1)));
  expect(error).toBeInstanceOf(Refusal);
  expect(`${error.message} ${error.cause}`).not.toMatch(/THE|KEY/);
});
