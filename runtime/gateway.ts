import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { SampleFrame } from '../firmware-bridge/codec/frame.ts';
import { type AlarmChange, AlarmWatch } from './contracts/alarm-change.ts';
import type { AlarmState } from './contracts/alarm-state.ts';
import type { DriftSignal } from './contracts/drift.ts';
import { type LabelReceipt, labelSchema } from './contracts/label.ts';
import { type OperatorCommand, operatorCommandSchema, type Status, statusSchema } from './contracts/messages.ts';
import { parsePayload } from './contracts/payload.ts';
import { gatewayTopics, streamOfTopic } from './contracts/topics.ts';
import { DecisionLoop, type DecisionLoopOptions } from './decision-loop.ts';
import { AlarmStore } from './io/alarm-store.ts';
import type { BrokerIdentity, BrokerLink } from './io/broker-link.ts';
import { brokerOptions } from './io/broker-options.ts';
import { ConfigurationRefusal, type GatewayConfiguration, namesPorts } from './io/configuration.ts';
import { DriftService } from './io/drift-service.ts';
import { DriftStore, type KeptDrift } from './io/drift-store.ts';
import { misfits } from './io/fit.ts';
import type { HttpServer } from './io/http-server.ts';
import { LatestMessages } from './io/latest-messages.ts';
import { LimitedLog } from './io/limited-log.ts';
import { type Lock, lockHolder, tryLock } from './io/lock.ts';
import { MessageSources } from './io/message-sources.ts';
import { NameGuard, type NameVerdict } from './io/name-guard.ts';
import { Outbox } from './io/outbox.ts';
import { folderFiles } from './io/outbox-files.ts';
import { OutboxSender } from './io/outbox-sender.ts';
import { Pseudonyms } from './io/pseudonyms.ts';
import { startLearning } from './io/start-learning.ts';
import { SignalWatch } from './sources/index.ts';

/** Between two status messages. */
const STATUS_MS = 1000;
/** A stream that has been silent for so long gives its slot back. */
const IDLE_MS = 10 * 60_000;
/** A model that is at work on one batch for so long does not come back. */
const STALLED_MS = 10_000;
/** Streams with troubles that a status names. */
const TROUBLED_STREAMS = 32;

export interface RunningGateway {
  status(): Status;
  /** Port of `/metrics` and `/healthz`, where the configuration asks for them. */
  readonly httpPort: number | undefined;
  /** Why the gateway does not do its work; undefined while it does. */
  sickness(): string | undefined;
  /** Hands an operator's word to a stream. @returns the alarm's state afterwards, undefined where the stream is not known */
  operate(stream: string, command: Exclude<OperatorCommand['command'], 'revertAdapter'>): AlarmState | undefined;
  stop(): Promise<void>;
}

/**
 * Composition root of the gateway: broker and ports in, decisions out. Resolves when the bundle is proved and the ports are being opened; the broker
 * may come later.
 *
 * @throws BundleRefusal where the bundle is refused, ConfigurationRefusal where another process works in the state folder or the HTTP port is taken
 */
export async function startGateway(
  configuration: GatewayConfiguration,
  version: string,
  programs: URL,
  log: Logger,
): Promise<RunningGateway> {
  const { site, gateway, broker, largestStreams, stateFolder } = configuration;
  const limited = new LimitedLog(log);
  const topics = gatewayTopics(site, gateway);
  const instance = randomUUID();
  const startedAt = new Date().toISOString();
  const identity = { gateway, version, instance, startedAt };
  const now = () => performance.now();

  // What must outlive a restart. A disk that cannot be written costs that, and not the decisions.
  const troubleOf = (path: string) => (error: Error) => limited.warn(path, { path, error: error.message }, 'state not kept');
  const unlock = await lockStateFolder(stateFolder, troubleOf(stateFolder), () => {
    // Two that write into one folder spoil it for both; the service manager starts this one again, and it is told who has the folder.
    log.fatal({ path: stateFolder }, 'another process has taken the state folder while this one stood still');
    process.exit(1);
  });
  const alarmFile = join(stateFolder, 'alarms.json');
  const alarmStore = new AlarmStore(alarmFile);
  const keptAlarms = await alarmStore.read().catch((error: Error) => {
    troubleOf(alarmFile)(error);
    return undefined;
  });

  // In: what streams send, watched and decided.
  const watch = new SignalWatch(largestStreams, (kind, stream, detail) => {
    limited.warn(`stream ${kind}`, { kind, stream, detail }, 'stream');
    drift.sensorFault(stream);
  });
  const loopOptions: DecisionLoopOptions = {
    bundleFolder: configuration.bundle,
    engine: configuration.engine,
    threads: configuration.threads,
    largestBatch: configuration.largestBatch,
    largestStreams,
    programs,
    referencesFolder: join(stateFolder, 'references'),
    keptAlarms,
    adapters: { folder: join(stateFolder, 'adapters'), configured: configuration.adapters },
  };
  // Text that must be read and libraries that must be loaded before the first decision: only where they are used.
  const updates = configuration.update && new (await import('./io/updates.ts')).Updates(configuration, loopOptions, limited, log);
  const startLoop = (bundleFolder: string) =>
    DecisionLoop.start(
      { ...loopOptions, bundleFolder },
      {
        onBundle: () => {
          drift = watchDrift();
        },
        onDiagnosis: (diagnosis, job, answer) => {
          const signal = drift.observe(job, answer);
          learning?.observe(job, diagnosis, drift.suspects(job.name));
          tellDrift(job.name, signal);
          diagnoses.send(diagnosis.stream, JSON.stringify(diagnosis));
          tellAlarm(alarms.observe(diagnosis.stream, diagnosis.alarm, diagnosis.at, diagnosis));
        },
        onFree: (stream) => {
          watch.forget(stream);
          drift.leave(stream);
        },
        onFailure: (failure, windows) => limited.warn('engine', { failure, windows }, 'the engine failed'),
        onReferenceError: (error, path) => limited.warn('references', { path, error: error.message }, 'reference not used or not kept'),
        onAdapter: (stream) => drift.relearn(stream),
        onAdapterError: (error, stream) => limited.warn('adapter', { stream, error: error.message }, 'adapter not used or not kept'),
        onExit: (error) => {
          // Without its model the gateway is of no use; the service manager starts it again.
          log.fatal({ error: error.message }, 'the inference thread ended');
          process.exit(1);
        },
      },
    );
  const starting = updates ? updates.startLoop(startLoop) : startLoop(configuration.bundle);
  // Read while the inference thread reads the model.
  const [loop, broking, serial, web] = await Promise.all([
    starting,
    import('./io/broker-link.ts'),
    namesPorts(configuration) ? import('./io/serial-sources.ts') : undefined,
    configuration.http && import('./io/http-server.ts'),
  ]).catch(async (error: Error) => {
    await unlock();
    throw error;
  });
  const accept = (stream: string, frame: SampleFrame) => {
    const arrivedMs = now();
    watch.observe(stream, frame, arrivedMs, loop.accept(stream, frame, arrivedMs));
  };
  for (const misfit of misfits(configuration, loop.manifest)) log.warn({ misfit }, 'the bundle does not fit');

  // Out: diagnoses as they come, alarms by way of the disk.
  const alarms = new AlarmWatch(
    instance,
    [...(keptAlarms ?? [])].map(([stream, { alarm }]) => [stream, alarm] as const),
  );
  const outbox = await Outbox.open({ files: folderFiles(join(stateFolder, 'outbox')), ...configuration.outbox }).catch(
    async (cause: Error) => {
      await loop.stop();
      await unlock();
      throw new ConfigurationRefusal(`stateFolder: ${stateFolder} cannot be read (${cause.message}); mend it or name another`, { cause });
    },
  );
  if (outbox.health.waiting > 0) log.info({ waiting: outbox.health.waiting }, 'messages of an earlier run wait in the outbox');
  const keep = (topic: string, payload: Uint8Array) =>
    void outbox.append({ topic, payload, retain: false }).then(() => {
      if (outbox.health.failures > 0 && outbox.health.dropped > 0)
        limited.warn('outbox', { error: outbox.health.lastError, dropped: outbox.health.dropped }, 'the outbox dropped messages');
      sender.tick();
    });
  const keepJson = (topic: string, message: object) => keep(topic, Buffer.from(JSON.stringify(message)));
  const tellAlarm = (change: AlarmChange | undefined) => {
    if (change) keepJson(topics.alarm(change.stream), change);
  };
  const tellDrift = (stream: string, signal: DriftSignal | undefined) => {
    if (!signal) return;
    keepJson(topics.drift(signal.stream), signal);
    // So that a label can name the signal instead of windows.
    if (signal.evidence.kind !== 'none') learning?.keepEvidence(stream, signal.id, signal.evidence.windows);
  };
  const pseudonymKey = join(stateFolder, 'pseudonym.key');
  const pseudonyms = await Pseudonyms.open(pseudonymKey, troubleOf(pseudonymKey));
  // Each bundle has its own drift reference, and machines lie elsewhere for it.
  const driftFile = join(stateFolder, 'drift.json');
  const driftStore = new DriftStore(driftFile);
  const watchDrift = (kept?: ReadonlyMap<string, KeptDrift>) => {
    const service = new DriftService({
      ...configuration.drift,
      kept,
      manifest: loop.manifest,
      pseudonyms,
      model: loop.status().bundle!.digest,
      adapterOf: (stream) => loop.adapterOf(stream),
      copyWindow: (job, into) => loop.copyWindow(job, into),
    });
    const [asked, promised] = [configuration.drift.runLength, service.promisedRunLength];
    if (promised < asked)
      log.info(
        { asked, promised },
        'drift.runLength: the bundle was calibrated on too few windows for more; false alarms may come so often',
      );
    return service;
  };
  let drift = watchDrift(
    await driftStore.read(loop.status().bundle!.digest).catch((error: Error) => {
      troubleOf(driftFile)(error);
      return undefined;
    }),
  );
  const saveDrift = (nowMs?: number) =>
    driftStore.save(loop.status().bundle!.digest, drift.changes, () => drift.kept(), nowMs).catch(troubleOf(driftFile));

  const learning = await startLearning(configuration, programs, loop, {
    tell: keep,
    onReport: (report) =>
      log.info({ stream: report.stream, outcome: report.outcome, reason: report.reason, adapter: report.adapter }, 'adaptation'),
    onTrouble: (error, stream) => limited.warn('learning', { stream, error: error.message }, 'not learned, or not kept'),
  });

  const sources = new MessageSources(
    configuration,
    accept,
    () => {},
    (topic, cause) => limited.warn(`refused ${topic}`, { topic, cause }, 'a message that no samples can be read from, or not all'),
  );
  const guard = new NameGuard(instance, startedAt);
  const clientId = `tremolo-${site}-${gateway}`;
  const ours: BrokerIdentity = {
    clientId,
    will: { topic: topics.status, payload: Buffer.from(JSON.stringify({ ...identity, state: 'offline' })), qos: 1, retain: true },
    subscriptions: {
      ...sources.subscriptions,
      [topics.status]: { qos: 1 },
      [topics.allOperators]: { qos: 1 },
      [topics.allLabels]: { qos: 1 },
    },
  };
  /** While another gateway has our name: a listener that hears when it ends. */
  const waiting: BrokerIdentity = { clientId: `${clientId}-${instance.slice(0, 8)}`, subscriptions: { [topics.status]: { qos: 1 } } };
  const mayPublish = () => link.online && !guard.waiting;

  const follow = (verdict: NameVerdict) => {
    if (verdict === 'keep') return;
    if (verdict === 'yield')
      limited.warn('name', { site, gateway }, 'another gateway of this name is at work: this one waits; give one of them another name');
    else log.info({ site, gateway }, 'the other gateway of this name is gone');
    link.become(verdict === 'yield' ? waiting : ours);
  };
  const onStatus = (payload: Uint8Array, retained: boolean) => {
    const status = parsePayload(payload, statusSchema);
    if (!status) return;
    const before = guard.rivals;
    const verdict = guard.observe(status, retained, now());
    if (verdict === 'keep' && guard.rivals > before)
      limited.warn('name', { site, gateway }, 'another gateway of this name has come and should wait; give one of them another name');
    follow(verdict);
  };
  const onOperator = (stream: string, payload: Uint8Array, retained: boolean) => {
    const told = parsePayload(payload, operatorCommandSchema);
    // What the broker keeps is an old word, and would be said again with each connection.
    if (!told || retained) limited.warn('operator', { stream, retained }, 'an operator message that cannot be used');
    else if (told.command === 'revertAdapter') void learning?.revert(stream);
    else if (operate(stream, told.command) === undefined)
      limited.warn('operator', { stream, ...told }, 'an operator message for a stream that is not known');
  };

  const onLabel = (stream: string, payload: Uint8Array, retained: boolean) => {
    const label = parsePayload(payload, labelSchema);
    if (!label || retained || label.stream !== stream) {
      limited.warn('label', { stream, retained }, 'a label that cannot be used');
      return;
    }
    const said = { ...label, annotator: pseudonyms.of('operator', label.annotator) };
    if (learning) void learning.label(said);
    // The server may learn from it all the same.
    else {
      const receipt: LabelReceipt = { id: said.id, stream, at: new Date().toISOString(), outcome: 'cannotLearn', windows: 0, label: said };
      keepJson(topics.labelled(stream), receipt);
    }
  };

  const link = new broking.BrokerLink(broker.url, () => brokerOptions(broker), ours, {
    onSamples: (topic, payload) => !guard.waiting && sources.take(topic, payload, now() * 1000),
    onMessage: (topic, payload, retained) => {
      if (!guard.waiting && sources.take(topic, payload, now() * 1000)) return;
      if (topic === topics.status) onStatus(payload, retained);
      else if (topic.startsWith(`${topics.branch}/label/`)) onLabel(streamOfTopic(topic), payload, retained);
      else onOperator(streamOfTopic(topic), payload, retained);
    },
    onOnline: () => {
      sendStatus();
      diagnoses.flush();
      sender.tick();
      log.info({ broker: broker.url }, guard.waiting ? 'waiting for the name' : 'listening');
    },
    onDrained: () => diagnoses.flush(),
    onOffline: () => {
      diagnoses.interrupted();
      sources.interrupted();
      watch.interrupted();
      guard.interrupted(now());
    },
    onTrouble: (error) => limited.warn('broker', { broker: broker.url, error }, 'broker'),
  });
  const publish: BrokerLink['publish'] = (topic, payload, retain, done) => mayPublish() && link.publish(topic, payload, retain, done);
  const diagnoses = new LatestMessages(topics.diagnosis, (topic, payload) => mayPublish() && link.post(topic, payload, true));
  const sender = new OutboxSender(outbox, publish, (error) => limited.warn('outbox', { error: error.message }, 'outbox'));
  const ports =
    serial &&
    new serial.SerialSources(configuration, accept, (port, state, { path, error }) => {
      if (state === 'retrying') limited.warn(`port ${port}`, { port, state, path, error: error?.message }, 'serial');
      else log.info({ port, state, path }, 'serial');
    });

  const status = (): Status => ({
    state: 'online',
    ...identity,
    ...loop.status(),
    framesRefused: { ...sources.framesRefused, ...loop.framesRefused, ...ports?.damage() },
    health: {
      broker: { ...link.health, rivals: guard.rivals, waitingForName: guard.waiting },
      diagnosesReplaced: diagnoses.replaced,
      outbox: outbox.health,
      ports: ports?.health() ?? {},
      foreign: sources.foreignCounters(),
      signals: { ...watch.counters },
      troubled: watch.troubled(now(), TROUBLED_STREAMS),
    },
  });
  // A status that is late is wrong: none is kept for a broker that is away.
  const sendStatus = () => {
    const { sent } = diagnoses;
    publish(topics.status, JSON.stringify(status()), true, (delivered) => {
      if (!delivered) return;
      diagnoses.confirm(sent);
      // Not before: what the broker kept from an earlier life, which its own power cut ended unsaid, is still on its way when we send.
      guard.published();
    });
  };
  const sickness = () => {
    const busyMs = loop.busyMs(now());
    return busyMs > STALLED_MS ? `the model has not answered for ${(busyMs / 1000).toFixed(0)} s` : undefined;
  };
  const saveAlarms = () => alarmStore.save(loop.keptAlarms()).catch(troubleOf(alarmFile));
  let knownFailures = 0;
  const timer = setInterval(() => {
    loop.freeIdle(now(), IDLE_MS);
    watch.check(now());
    saveAlarms();
    saveDrift(now());
    if (link.online) follow(guard.check(now()));
    sendStatus();
    const { failures } = outbox.health;
    if (failures > knownFailures) limited.warn('outbox disk', { error: outbox.health.lastError, failures }, 'the disk takes no messages');
    knownFailures = failures;
  }, STATUS_MS);

  const operate: RunningGateway['operate'] = (stream, command) => {
    const alarm = loop.operate(stream, command);
    // Whoever says that the machine is well as it is says it of the drift too.
    if (command === 'healthy') drift.relearn(stream);
    if (alarm !== undefined) tellAlarm(alarms.observe(stream, alarm, new Date().toISOString()));
    return alarm;
  };

  let http: HttpServer | undefined;
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= (async () => {
      clearInterval(timer);
      await ports?.close();
      await http?.close();
      loop.refuseWaiting();
      await learning?.stop();
      await updates?.stop();
      await link.close(mayPublish() ? { topic: topics.status, payload: JSON.stringify({ ...status(), state: 'offline' }) } : undefined);
      await outbox.close();
      // The first waits for a write that is under way.
      for (let round = 0; round < 2; round++) await Promise.all([saveAlarms(), saveDrift()]);
      await loop.stop();
      await unlock();
    })();
    return stopping;
  };
  if (configuration.http && web) {
    http = await web.startHttpServer(configuration.http, status, sickness).catch(async (cause: NodeJS.ErrnoException) => {
      await stop();
      const { host, port } = configuration.http!;
      throw new ConfigurationRefusal(`http: ${host}:${port} cannot be had (${cause.code}); name another port`, { cause });
    });
  }
  await updates
    ?.connect(loop, `${clientId}-update-${instance.slice(0, 8)}`, () => !guard.waiting)
    .catch(async (cause: Error) => {
      await stop();
      throw cause;
    });
  const { bundle, engine } = loop.status();
  log.info({ bundle: bundle?.name, digest: bundle?.digest.slice(0, 12), engine: `${engine?.name} ${engine?.version}` }, 'deciding');
  return { status, httpPort: http?.port, sickness, operate, stop };
}

/**
 * Makes sure that no other gateway works in a state folder. A disk that takes no lock costs that, and not the decisions.
 *
 * @returns gives the folder back
 * @throws ConfigurationRefusal where another process has it
 */
async function lockStateFolder(folder: string, onTrouble: (error: Error) => void, onLost: () => void): Promise<() => Promise<void>> {
  const path = join(folder, 'lock');
  let lock: Lock | undefined;
  try {
    lock = await tryLock(path);
  } catch (error) {
    onTrouble(error as Error);
    return async () => {};
  }
  if (!lock) {
    const holder = await lockHolder(path);
    const who = holder ? `process ${holder.pid} of ${holder.host}` : 'another process';
    throw new ConfigurationRefusal(`stateFolder: ${folder} is in use by ${who}; stop it, or give each gateway a folder of its own`);
  }
  lock.lost.addEventListener('abort', onLost);
  return () => lock.release();
}
