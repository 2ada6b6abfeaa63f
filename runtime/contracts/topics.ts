/** Version of the topics and payloads; part of every topic. */
const ROOT = 'tremolo/v1';

/** A topic level: letters, digits, `.`, `_` and `-`, so that no name can be a wildcard or another level. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export function isTopicName(name: string): boolean {
  return NAME.test(name);
}

/**
 * Topics of one gateway. Everything that a gateway says or is told lies below one branch, so that a broker's access list can confine it there.
 *
 * @throws RangeError where a name is not a topic level
 */
export function gatewayTopics(site: string, gateway: string) {
  for (const name of [site, gateway]) if (!isTopicName(name)) throw new RangeError(`"${name}" cannot be a topic level`);
  const branch = `${ROOT}/${site}/${gateway}`;
  return {
    branch,
    /** Binary frames of one stream, towards the gateway. */
    samples: (stream: string) => `${branch}/samples/${stream}`,
    allSamples: `${branch}/samples/+`,
    /** The latest decision of one stream, JSON, retained. */
    diagnosis: (stream: string) => `${branch}/diagnosis/${stream}`,
    allDiagnoses: `${branch}/diagnosis/+`,
    /** Changes of one stream's alarm state, JSON: each arrives, at least once and in order. */
    alarm: (stream: string) => `${branch}/alarm/${stream}`,
    allAlarms: `${branch}/alarm/+`,
    /** What operators say of one stream, JSON, towards the gateway. */
    operator: (stream: string) => `${branch}/operator/${stream}`,
    allOperators: `${branch}/operator/+`,
    /** What the gateway is and runs, JSON, retained, with a last will. */
    status: `${branch}/status`,
  };
}

/** The last level of a topic: the stream's name. */
export function streamOfTopic(topic: string): string {
  return topic.slice(topic.lastIndexOf('/') + 1);
}
