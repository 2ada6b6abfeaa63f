import type { Socket } from 'node:net';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';

/**
 * Connects to a broker and keeps the connection: where the broker is away, it tries again every second, and what was asked of the client waits.
 * Nagle's algorithm is switched off: together with delayed acknowledgements it holds a small message back for 40 ms.
 *
 * @param onError called for each failure; the client goes on by itself
 */
export function connectBroker(url: string, onError: (error: Error) => void, options: IClientOptions = {}): MqttClient {
  const client = mqtt.connect(url, options);
  // Without a listener an error of the connection would end the process.
  client.on('error', onError);
  client.on('connect', () => (client.stream as Partial<Socket>).setNoDelay?.(true));
  return client;
}
