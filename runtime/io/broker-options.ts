import { readFileSync } from 'node:fs';
import type { IClientOptions } from 'mqtt';
import type { BrokerConfiguration } from './configuration.ts';

/** Longest wait for a broker's answer to a connection, milliseconds. */
const CONNECT_MS = 10_000;

/** Seconds without a message after which the connection is tried: a broker that is gone without a word is noticed after one and a half. */
const KEEPALIVE_S = 15;

/**
 * mqtt.js's options of a connection. Reads certificates and password anew each time, so that what is renewed on disk is used with the next
 * connection. A chain is verified always: there is no way to switch that off.
 *
 * @throws Error of the file system where a file has gone since the configuration was read
 */
export function brokerOptions({ protocolVersion, ca, cert, key, username, passwordFile }: BrokerConfiguration): IClientOptions {
  return {
    protocolVersion,
    clean: true,
    keepalive: KEEPALIVE_S,
    connectTimeout: CONNECT_MS,
    // Would make 65,536 buffers, one for each message number: 7 MB.
    writeCache: false,
    rejectUnauthorized: true,
    ...(ca && { ca: readFileSync(ca) }),
    ...(cert && key && { cert: readFileSync(cert), key: readFileSync(key) }),
    ...(username && { username }),
    // An editor puts a line's end behind a password that was not meant.
    ...(passwordFile && { password: readFileSync(passwordFile, 'utf8').replace(/\r?\n$/, '') }),
  };
}
