import { mkdtemp } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Aedes } from 'aedes';
import { expect, it, onTestFinished, vi } from 'vitest';
import { Intake } from '../../../trainer/server/intake.ts';
import { openBooks } from '../../../trainer/server/open-books.ts';

it('an intake that may not subscribe when it comes back is not listening, though it is connected', async () => {
  let connections = 0;
  const refused: string[] = [];
  const broker = await Aedes.createBroker({
    authorizeSubscribe(_client, subscription, done) {
      if (connections > 1) refused.push(subscription.topic);
      // Without a subscription the broker answers 128: refused.
      done(null, connections > 1 ? null : subscription);
    },
  });
  const sockets: Socket[] = [];
  const listener = createServer((socket) => {
    connections++;
    sockets.push(socket);
    broker.handle(socket);
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void listener.close());
  onTestFinished(() => new Promise<void>((resolve) => broker.close(() => resolve())));
  const { port } = listener.address() as { port: number };
  const books = await openBooks(
    { database: join(await mkdtemp(join(tmpdir(), 'tremolo-intake-')), 'server.db'), lease: 1000 },
    undefined,
    () => {},
  );
  onTestFinished(() => books.close());
  const errors: string[] = [];
  const options = { sites: ['plant'], metrics: [], clientId: 'intake' };
  const url = `mqtt://127.0.0.1:${port}`;
  const intake = new Intake(
    books.store,
    { url, protocolVersion: 4, qos: 1 },
    options,
    () => {},
    ({ message }) => errors.push(message),
  );
  onTestFinished(() => intake.close());
  await vi.waitFor(() => expect(intake.listening).toBe(true), { timeout: 20_000, interval: 20 });
  sockets[0].destroy();
  await vi.waitFor(() => expect(errors).toHaveLength(1), { timeout: 20_000, interval: 20 });
  expect([refused.length > 0, connections, intake.listening]).toEqual([true, 2, false]);
});
