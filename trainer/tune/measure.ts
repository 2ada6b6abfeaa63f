import { adapterLayout } from '../../models/adapters/adapter.ts';
import { bankRow } from '../../models/adapters/scheme.ts';
import { featureCount } from '../../models/networks/front-end.ts';
import { joinFeatures, type LabelledFeatures, takeRows } from '../../runtime/adapt/labelled-features.ts';
import { argmaxRows, type Metrics, metricsOf } from '../evaluate/metrics.ts';
import { Decider, type Deployment } from './decider.ts';
import { fitsBank, type TuneContext } from './method.ts';

/** Windows of the target that set the ranges of int8 activations, beside the replay windows. */
const CALIBRATION_WINDOWS = 512;

export type Measure = Pick<Metrics, 'windows' | 'accuracy' | 'balancedAccuracy' | 'macroF1'>;

/** Accuracy before or after, on windows that nothing was learned from, and on what the network knew. */
export interface BeforeOrAfter {
  readonly target: Measure;
  readonly source: Measure & { readonly measuredOn: 'recordings' | 'replay' };
}

/** A deployment that is ready to be asked. */
export interface Deployed {
  /** Logits [count, classes] of features that are standardised as the base's statistics say. */
  logits(features: Float32Array): Promise<Float32Array>;
  measure(examples: LabelledFeatures): Promise<Measure>;
  release(): Promise<void>;
}

/** Some rows of the target, spread evenly, after all of replay: labels are not looked at. */
function calibrationFeatures({ network, unlabelled }: Pick<TuneContext, 'network' | 'unlabelled'>, replay: LabelledFeatures): Float32Array {
  const count = unlabelled.length / featureCount(network.parts);
  const wanted = Math.min(CALIBRATION_WINDOWS, count);
  const rows = Array.from({ length: wanted }, (_, index) => Math.floor(((index + 0.5) * count) / wanted));
  const target = takeRows({ features: unlabelled, labels: new Int32Array(count) }, rows);
  return joinFeatures([replay, target]).features;
}

/**
 * Makes a deployment run: through the bundle's own int8 graph and bank where its adapter fits there, else through int8 graphs of its own.
 *
 * @param deployment the bare base where absent
 */
export async function deploy(context: TuneContext, replay: LabelledFeatures, deployment?: Deployment): Promise<Deployed> {
  const { engine, bundle, network, base } = context;
  const inBank = !deployment || (deployment.weights === base && fitsBank(bundle, deployment.scheme));
  const decider = inBank
    ? await Decider.ofBundle(engine, bundle, network, base.statistics)
    : await Decider.quantized(engine, deployment, calibrationFeatures(context, replay), base.statistics);
  return deployed(decider, network.classes, deployment && rowOf(deployment));
}

/** The deployment's adapter as a row of a bank of its scheme; none where it has no adapter. */
export function rowOf({ scheme, network, adapter }: Deployment): Float32Array | undefined {
  return adapter && bankRow(scheme, adapterLayout(scheme, network), adapter);
}

export function deployed(decider: Decider, classes: number, row: Float32Array | undefined): Deployed {
  const logits = async (features: Float32Array) => (await decider.decide(features, row)).logits;
  return {
    logits,
    async measure({ features, labels }) {
      const { windows, accuracy, balancedAccuracy, macroF1 } = metricsOf(labels, argmaxRows(await logits(features), classes), classes);
      return { windows, accuracy, balancedAccuracy, macroF1 };
    },
    release: () => decider.release(),
  };
}
