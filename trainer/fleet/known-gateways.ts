import { randomUUID } from 'node:crypto';
import { siteTopics } from '../../runtime/contracts/topics.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { brokerOptions } from '../../runtime/io/broker-options.ts';
import type { BrokerConfiguration } from '../../runtime/io/configuration.ts';
import { Refusal } from '../refusal.ts';
import { GatewayWatch } from './gateway-watch.ts';

const CONNECT_MS = 10_000;

/** A broker sends what it has retained at once: after so long without a new gateway, there are no more. */
const QUIET_MS = 300;

/**
 * What the gateways of some sites last said, as the broker has kept it.
 *
 * @param connectMs how long the broker is tried, milliseconds
 * @throws Refusal fleet/broker where the broker cannot be reached
 */
export async function askBroker(broker: BrokerConfiguration, sites: readonly string[], connectMs = CONNECT_MS): Promise<GatewayWatch> {
  let lastError = 'no answer';
  const client = connectBroker(
    broker.url,
    (error) => {
      lastError = error.message || String(error);
    },
    { ...brokerOptions(broker), clientId: `tremolo-fleet-${randomUUID().slice(0, 8)}` },
  );
  try {
    if (!client.connected)
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Refusal('fleet/broker', `${broker.url} cannot be reached: ${lastError}`)), connectMs);
        client.once('connect', () => {
          clearTimeout(timer);
          resolve();
        });
      });
    const watch = new GatewayWatch();
    await new Promise<void>((resolve, reject) => {
      let timer = setTimeout(resolve, CONNECT_MS);
      const wait = () => {
        clearTimeout(timer);
        timer = setTimeout(resolve, QUIET_MS);
      };
      client.on('message', (topic, payload, { retain }) => {
        watch.onMessage(topic, payload);
        if (retain) wait();
      });
      const topics = sites.flatMap((site) => [siteTopics(site).allStatuses, siteTopics(site).allUpdateStates]);
      client.subscribeAsync(topics, { qos: 1 }).then(wait, reject);
    });
    return watch;
  } finally {
    await client.endAsync(true);
  }
}
