/** Version of the topics and payloads; part of every topic. */
const ROOT = 'tremolo/v1';

/** The level that stands for all gateways of a site. */
const SHARED = 'shared';

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
  if (gateway === SHARED) throw new RangeError(`no gateway can be called "${SHARED}": its branch would be the site's own`);
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
    /** Drift of one stream, JSON: each arrives, at least once and in order; see drift.ts. */
    drift: (stream: string) => `${branch}/drift/${stream}`,
    allDrift: `${branch}/drift/+`,
    /** What operators say of one stream, JSON, towards the gateway. */
    operator: (stream: string) => `${branch}/operator/${stream}`,
    allOperators: `${branch}/operator/+`,
    /** What annotators say of windows of one stream, JSON, towards the gateway; and its answer to each label, under a pseudonym. See label.ts. */
    label: (stream: string) => `${branch}/label/${stream}`,
    allLabels: `${branch}/label/+`,
    labelled: (stream: string) => `${branch}/labelled/${stream}`,
    allLabelled: `${branch}/labelled/+`,
    /** What became of each attempt to learn, JSON; and the adapters that decide because of it, as safetensors files. See adaptation.ts. */
    adaptation: (stream: string) => `${branch}/adaptation/${stream}`,
    allAdaptations: `${branch}/adaptation/+`,
    adapter: (stream: string) => `${branch}/adapter/${stream}`,
    allAdapters: `${branch}/adapter/+`,
    /** What the gateway is and runs, JSON, retained, with a last will. */
    status: `${branch}/status`,
    /** Updates: what the gateway asks for, why it does not come, and where it stands (retained); see update.ts. */
    updateRequest: `${branch}/update/request`,
    updateRefusal: `${branch}/update/refusal`,
    updateState: `${branch}/update/state`,
  };
}

/**
 * Topics that a site's gateways read and only the server writes.
 *
 * @throws RangeError where the name is not a topic level
 */
export function siteTopics(site: string) {
  if (!isTopicName(site)) throw new RangeError(`"${site}" cannot be a topic level`);
  const shared = `${ROOT}/${site}/${SHARED}/update`;
  return {
    /** Bytes of timestamp.json, retained. */
    timestamp: `${shared}/timestamp`,
    /** Chunks of one object; the last level is the index. */
    chunk: (object: string, index: number) => `${shared}/chunk/${object}/${index}`,
    chunks: (object: string) => `${shared}/chunk/${object}/+`,
    /** What every gateway of the site says. */
    allStatuses: `${ROOT}/${site}/+/status`,
    allUpdateRequests: `${ROOT}/${site}/+/update/request`,
    allUpdateStates: `${ROOT}/${site}/+/update/state`,
    allDrift: `${ROOT}/${site}/+/drift/+`,
    allLabelled: `${ROOT}/${site}/+/labelled/+`,
    allAdaptations: `${ROOT}/${site}/+/adaptation/+`,
    allAdapters: `${ROOT}/${site}/+/adapter/+`,
  };
}

/** The gateway that a topic of its branch names. */
export function gatewayOfTopic(topic: string): string {
  return topic.split('/')[3];
}

/** The last level of a topic: the stream's name. */
export function streamOfTopic(topic: string): string {
  return topic.slice(topic.lastIndexOf('/') + 1);
}
