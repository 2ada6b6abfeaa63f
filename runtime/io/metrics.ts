import type { Status } from '../contracts/messages.ts';

type Labels = Readonly<Record<string, string>>;

/** Media type of the text exposition format, version 0.0.4. */
export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/**
 * A status in Prometheus' text exposition format 0.0.4. Names end in `_total` for what only grows; a restart begins at zero, as counters may.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */
export function renderMetrics(status: Status): string {
  const { ledger, health, framesRefused = {} } = status;
  const text = new MetricsText();
  text.gauge('tremolo_info', 'Version, bundle and engine, as labels.', 1, {
    version: status.version,
    bundle: status.bundle?.name ?? '',
    digest: status.bundle?.digest ?? '',
    engine: status.engine ? `${status.engine.name} ${status.engine.version}` : '',
  });
  text.gauge('tremolo_streams', 'Streams that have a ring.', status.streams ?? 0);
  if (ledger) {
    const { windowsRefused } = ledger;
    text.counter('tremolo_samples_received_total', 'Samples a channel that came.', ledger.samplesReceived);
    text.counter('tremolo_samples_lost_total', 'Samples a channel that are missing in the sequences.', ledger.samplesLost);
    text.counter('tremolo_samples_late_total', 'Samples a channel that came twice or too late.', ledger.samplesLate);
    text.counter('tremolo_windows_expected_total', 'Windows that were complete.', ledger.windowsExpected);
    text.counter('tremolo_windows_decided_total', 'Windows that were decided.', ledger.windowsDecided);
    text.counters('tremolo_windows_refused_total', 'Windows that were not decided, by cause.', 'cause', windowsRefused);
    text.gauge('tremolo_windows_waiting', 'Windows that wait for the model.', ledger.windowsWaiting);
  }
  text.counters('tremolo_frames_refused_total', 'Frames that were refused, by cause.', 'cause', framesRefused);
  if (health) {
    const { broker, outbox, ports, foreign, signals, troubled } = health;
    text.gauge('tremolo_broker_connected', 'Whether the broker is connected.', Number(broker.connected));
    text.counter('tremolo_broker_connections_total', 'Connections made to the broker.', broker.connections);
    text.counter('tremolo_broker_lost_total', 'Connections to the broker that ended unasked.', broker.lost);
    text.counter('tremolo_broker_failed_total', 'Tries that made no connection.', broker.failed);
    text.counter('tremolo_broker_rivals_total', 'Times that another gateway of this name was seen.', broker.rivals);
    text.counter(
      'tremolo_diagnoses_replaced_total',
      'Diagnoses that a newer one replaced before they could be sent.',
      health.diagnosesReplaced,
    );
    text.gauge('tremolo_outbox_waiting', 'Messages on disk that are not acknowledged.', outbox.waiting);
    text.gauge('tremolo_outbox_bytes', 'Bytes of the outbox.', outbox.bytes);
    text.counter('tremolo_outbox_accepted_total', 'Messages that the outbox took.', outbox.accepted);
    text.counter('tremolo_outbox_acknowledged_total', 'Messages of the outbox that arrived.', outbox.acknowledged);
    text.counter('tremolo_outbox_dropped_total', 'Messages that the outbox dropped.', outbox.dropped);
    text.counter('tremolo_outbox_failures_total', 'Writes that the disk refused.', outbox.failures);
    for (const [port, { state }] of Object.entries(ports))
      text.gauge('tremolo_port_open', 'Whether a serial port is open.', Number(state === 'open'), { port });
    for (const [port, { counters }] of Object.entries(ports))
      text.counters('tremolo_port_total', 'What became of a port, by counter.', 'counter', counters, { port });
    for (const [stream, counters] of Object.entries(foreign))
      text.counters('tremolo_foreign_total', 'What became of a foreign source, by counter.', 'counter', counters, { stream });
    text.counters('tremolo_signals_total', 'What is wrong with signals, by kind.', 'kind', signals);
    text.gauge('tremolo_streams_troubled', 'Streams that something is wrong with now.', Object.keys(troubled).length);
  }
  return text.toString();
}

class MetricsText {
  /** Samples by metric: the format wants them together. */
  readonly #metrics = new Map<string, string[]>();

  gauge(name: string, help: string, value: number, labels: Labels = {}): void {
    this.#add(name, help, 'gauge', value, labels);
  }

  counter(name: string, help: string, value: number, labels: Labels = {}): void {
    this.#add(name, help, 'counter', value, labels);
  }

  /** One sample for each entry, which becomes a label. */
  counters(name: string, help: string, label: string, values: Readonly<Record<string, number>>, labels: Labels = {}): void {
    for (const [key, value] of Object.entries(values)) this.counter(name, help, value, { ...labels, [label]: key });
  }

  toString(): string {
    return `${[...this.#metrics.values()].flat().join('\n')}\n`;
  }

  #add(name: string, help: string, type: string, value: number, labels: Labels): void {
    let lines = this.#metrics.get(name);
    if (!lines) {
      lines = [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
      this.#metrics.set(name, lines);
    }
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`);
    lines.push(`${name}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${value}`);
  }
}

function escapeLabel(text: string): string {
  return text.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
}
