import { isDatatype, type Tensor } from '../../src/tensor/tensor.ts';
import type { GrpcClient } from '../support/grpc.ts';
import { parseBinaryReply, type TestServer } from '../support/server.ts';
import { differenceInBits, differenceInJson } from './compare.ts';
import { inferRequest, outputsOf } from './grpc.ts';
import { type JsonOutput, jsonData, parseExactly, readJsonTensor } from './http-json.ts';

/** The ways in which a run can be sent to a server and its answer read. */

/** A run of a served model. */
export interface Run {
  readonly model: string;
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputs: readonly Tensor[];
}

/** The doors of a server. */
export interface Doors {
  readonly http: TestServer;
  readonly grpc: GrpcClient;
}

/** One way. */
export interface Encoding {
  /** Whether tensors of these datatypes can be sent and answered so. */
  carries(datatypes: ReadonlySet<string>): boolean;
  /**
   * The outputs in the order of `outputNames`.
   *
   * @throws {Error} when the server does not answer with a success.
   */
  infer(doors: Doors, run: Run): Promise<Tensor[]>;
  /** What is different between an answer and what plain onnxruntime-node gave; undefined when nothing is. */
  difference(got: readonly Tensor[], plain: readonly Tensor[]): string | undefined;
}

/** All ways by their name. */
export const ENCODINGS: Readonly<Record<string, Encoding>> = {
  'HTTP JSON': {
    carries: (datatypes) => !datatypes.has('FP16'),
    infer: inferJson,
    difference: differenceInJson,
  },
  'HTTP binary': {
    carries: () => true,
    infer: inferBinary,
    difference: differenceInBits,
  },
  'gRPC, raw contents': {
    carries: () => true,
    infer: (doors, run) => inferGrpc(doors, run, 'raw'),
    difference: differenceInBits,
  },
  'gRPC, typed contents': {
    carries: (datatypes) => !datatypes.has('FP16'),
    infer: (doors, run) => inferGrpc(doors, run, 'typed'),
    difference: differenceInBits,
  },
};

async function inferJson({ http }: Doors, run: Run): Promise<Tensor[]> {
  const inputs = run.inputs.map((tensor, i) => `{${head(run.inputNames[i]!, tensor)},"data":${jsonData(tensor)}}`);
  const { status, body } = await http.infer(run.model, `{"inputs":[${inputs.join(',')}]}`);
  if (status !== 200) throw new Error(`${status} ${body}`);
  const reply = parseExactly(body.toString()) as { readonly outputs: readonly JsonOutput[] };
  checkNames(reply.outputs, run);
  return reply.outputs.map(readJsonTensor);
}

async function inferBinary({ http }: Doors, run: Run): Promise<Tensor[]> {
  const inputs = run.inputs.map(
    (tensor, i) => `{${head(run.inputNames[i]!, tensor)},"parameters":{"binary_data_size":${tensor.bytes.length}}}`,
  );
  const json = `{"parameters":{"binary_data_output":true},"inputs":[${inputs.join(',')}]}`;
  const sections = run.inputs.map(({ bytes }) => bytes);
  const answer = await http.inferBinary(run.model, json, sections);
  if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`);
  const { reply, sections: outputs } = parseBinaryReply(answer);
  checkNames(reply.outputs, run);
  return reply.outputs.map(({ datatype, shape }, i) => {
    const bytes = outputs[i];
    if (bytes === undefined || !isDatatype(datatype)) throw new Error(`output ${i} is not binary, or ${datatype}`);
    return { datatype, shape, bytes };
  });
}

async function inferGrpc({ grpc }: Doors, run: Run, form: 'raw' | 'typed'): Promise<Tensor[]> {
  const reply = await grpc.infer(inferRequest(run, form));
  checkNames(reply.outputs, run);
  return outputsOf(reply);
}

function head(name: string, { datatype, shape }: Tensor): string {
  return `"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":[${shape.join(',')}]`;
}

function checkNames(outputs: readonly { readonly name: string }[], run: Run): void {
  const names = outputs.map(({ name }) => name).join();
  if (names !== run.outputNames.join()) throw new Error(`outputs ${names} instead of ${run.outputNames.join()}`);
}
