import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Status } from '../contracts/messages.ts';
import { METRICS_TYPE, renderMetrics } from './metrics.ts';

export interface HttpServer {
  /** The port that it listens on: the one asked for, or any free one for 0. */
  readonly port: number;
  close(): Promise<void>;
}

/**
 * `/metrics` for Prometheus and `/healthz` for whoever restarts what is sick: 200 while windows are decided, 503 where not. Without TLS and without a
 * password: for this machine or a network that may know.
 *
 * @param sickness why the gateway does not do its work; undefined while it does
 * @throws Error of the operating system where the port cannot be had
 */
export async function startHttpServer(
  { port, host }: { port: number; host: string },
  status: () => Status,
  sickness: () => string | undefined,
): Promise<HttpServer> {
  const server = createServer((request, response) => {
    const answer = (code: number, type: string, body: string) => {
      response.writeHead(code, { 'content-type': type, 'cache-control': 'no-store' });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    const path = request.url?.split('?')[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') answer(405, 'text/plain', 'only GET\n');
    else if (path === '/metrics') answer(200, METRICS_TYPE, renderMetrics(status()));
    else if (path === '/healthz') {
      const sick = sickness();
      answer(sick ? 503 : 200, 'text/plain', `${sick ?? 'ok'}\n`);
    } else answer(404, 'text/plain', 'there is /metrics and /healthz\n');
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
