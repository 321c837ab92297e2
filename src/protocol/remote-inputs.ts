import type { Clock } from '../clock.ts';
import { invalid, ShoalError, toShoalError } from '../errors.ts';
import { filledWithBodies, stackOfBodies } from '../loading/assemble.ts';
import type { Fetched, RemoteFetcher } from '../loading/remote.ts';
import type { ByteHold } from '../loading/remote-body.ts';
import { leastBytesOf, tensorOfBytes, type WantedTensor } from '../loading/tensor-of-bytes.ts';
import type { RemoteElement } from '../tensor/json-strings.ts';
import { quoteName } from '../tensor/json-text.ts';
import { checkInputs, type Signature } from '../tensor/signature.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { runSliced } from './sliced.ts';

/** More addresses than this in one request are refused. */
const MAX_ADDRESSES = 1024;

/** What is to be fetched for an input. */
export interface RemoteNeed {
  /** Of the input. */
  readonly name: string;
  readonly addresses: readonly string[];
}

/** An input of a request whose values, or some of them, are to be fetched. */
export interface RemoteInput extends RemoteNeed {
  /**
   * What the tensor will be as far as the request says it, with any bytes: by it the request is checked before anything
   * is fetched. Undefined when it is known only from what is fetched.
   */
  readonly expected: Tensor | undefined;
  /** Each address has to give at least so many bytes. */
  readonly leastBytes: number;
  /**
   * Makes the tensor, in slices.
   *
   * @param isText whether elements of BYTES have to be texts that ONNX Runtime can take.
   * @throws {ShoalError} INVALID_REQUEST when what was fetched is none.
   */
  readonly assemble: (bodies: readonly Buffer[], isText: boolean) => Generator<void, Tensor, void>;
}

/** What a request is for, as far as its inputs are checked: a model version, or what takes requests like one. */
export interface RemoteTarget {
  readonly name: string;
  readonly signature: Signature | undefined;
  readonly maxBatchSize: number;
  /** Inputs of BYTES whose elements may be any bytes. */
  readonly opaque?: { readonly inputs: ReadonlySet<string> } | undefined;
  notReady(): ShoalError;
}

/** For how long what is fetched is waited for. */
export interface RemoteWait {
  /** Instant at which the caller stops waiting. */
  readonly deadlineMs: number;
  /** Aborted when the caller has left. */
  readonly signal: AbortSignal;
}

/** A request that waits for what is to be fetched. */
export interface RemoteRequest extends RemoteWait {
  /** The inputs that came with the request itself. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly remote: readonly RemoteInput[];
}

/** What fetching has taken, and how it ends. */
interface Held {
  /** Time that fetching has taken. */
  readonly fetchMs: number;
  /** Has the bytes not counted any longer: to be called when somebody else counts them. */
  release(): void;
}

/** What was fetched. */
export interface Gathered extends Held {
  readonly bodies: readonly (readonly Buffer[])[];
}

/** All inputs of a request. */
export interface CompleteInputs extends Held {
  readonly inputs: ReadonlyMap<string, Tensor>;
}

/** An input that is nothing but one address: its tensor is what that gives. */
export function remoteTensor(name: string, address: string, wanted: WantedTensor): RemoteInput {
  const { datatype, shape } = wanted;
  return {
    name,
    addresses: [address],
    expected: shape.includes(-1) ? undefined : { datatype, shape, bytes: Buffer.alloc(0) },
    leastBytes: leastBytesOf(wanted),
    assemble: ([body], isText) => tensorOfBytes(body!, wanted, isText),
  };
}

/**
 * An input with a row for each address.
 *
 * @param wanted what a row is to be.
 */
export function remoteRows(name: string, addresses: readonly string[], wanted: WantedTensor): RemoteInput {
  const { datatype, shape } = wanted;
  return {
    name,
    addresses,
    expected: { datatype, shape: [addresses.length, ...shape.map(Math.abs)], bytes: Buffer.alloc(0) },
    leastBytes: leastBytesOf(wanted),
    assemble: (bodies) => stackOfBodies(bodies, wanted),
  };
}

/** An input of BYTES, some elements of which are given by their addresses; in `tensor` they are empty. */
export function remoteElements(name: string, tensor: Tensor, elements: readonly RemoteElement[]): RemoteInput {
  const indices = elements.map(({ index }) => index);
  return {
    name,
    addresses: elements.map(({ url }) => url),
    expected: tensor,
    leastBytes: 0,
    assemble: (bodies, isText) => filledWithBodies(tensor, indices, bodies, `input ${quoteName(name)}`, isText),
  };
}

/** Fetches the inputs that requests give by their addresses; one for all doors of a server. */
export class RemoteInputs {
  readonly #fetcher: RemoteFetcher;
  readonly #hold: ByteHold;
  readonly #clock: Clock;
  readonly #maxBytes: number;

  /**
   * @param hold the bytes that accepted requests may hold; what a request holds while it waits counts among them.
   * @param maxBytes the fetcher's own limit.
   */
  constructor(fetcher: RemoteFetcher, hold: ByteHold, clock: Clock, maxBytes: number) {
    this.#fetcher = fetcher;
    this.#hold = hold;
    this.#clock = clock;
    this.#maxBytes = maxBytes;
  }

  /**
   * Completes the inputs of a request, which is first checked as far as it can be: nothing is fetched for one that is
   * wrong.
   *
   * @throws {ShoalError} what {@link RemoteFetcher.take} throws, naming the input; DEADLINE_EXCEEDED; QUEUE_FULL when
   * there is no room for what the request holds meanwhile; INVALID_REQUEST when it does not fit the model.
   */
  async complete(target: RemoteTarget, request: RemoteRequest): Promise<CompleteInputs> {
    checkBeforehand(target, request, this.#maxBytes);
    let localBytes = 0;
    for (const { bytes } of request.inputs.values()) localBytes += bytes.length;
    const { bodies, fetchMs, release } = await this.gather(request.remote, localBytes, request);
    try {
      const inputs = new Map(request.inputs);
      for (const [i, { name, assemble }] of request.remote.entries()) {
        const isText = target.opaque?.inputs.has(name) !== true;
        inputs.set(name, await runSliced(assemble(bodies[i]!, isText)));
      }
      return { inputs, fetchMs, release };
    } catch (thrown) {
      release();
      throw thrown;
    }
  }

  /**
   * Fetches all addresses at the same time; the first that fails ends the others.
   *
   * @param localBytes what the request holds besides, which counts until it is released, too.
   * @returns the bodies, for each of `wanted` in the order of its addresses.
   * @throws {ShoalError} as {@link RemoteInputs.complete}.
   */
  async gather(wanted: readonly RemoteNeed[], localBytes: number, wait: RemoteWait): Promise<Gathered> {
    const startMs = this.#clock.now();
    checkCount(wanted);
    if (!this.#hold.hold(localBytes)) {
      throw new ShoalError('QUEUE_FULL', 'the server holds as many bytes of inputs as it may', {
        retryAfterSeconds: 1,
      });
    }
    const fetched: Fetched[] = [];
    let isReleased = false;
    const release = (): void => {
      if (isReleased) return;
      isReleased = true;
      this.#hold.free(localBytes);
      for (const one of fetched) one.release();
    };
    try {
      const bodies = await this.#fetchAll(wanted, wait, fetched);
      return { bodies, fetchMs: this.#clock.now() - startMs, release };
    } catch (thrown) {
      release();
      throw thrown;
    }
  }

  /** Ends all fetches. */
  close(): Promise<void> {
    return this.#fetcher.close();
  }

  async #fetchAll(wanted: readonly RemoteNeed[], wait: RemoteWait, fetched: Fetched[]): Promise<Buffer[][]> {
    const stop = new AbortController();
    const late = new ShoalError(
      'DEADLINE_EXCEEDED',
      'the time that the request may take passed while its inputs were fetched',
    );
    const timer = this.#clock.setTimer(wait.deadlineMs - this.#clock.now(), () => stop.abort(late));
    const leave = (): void => stop.abort(wait.signal.reason);
    if (wait.signal.aborted) leave();
    wait.signal.addEventListener('abort', leave, { once: true });
    const take = async (name: string, address: string): Promise<Buffer> => {
      try {
        const one = await this.#fetcher.take(address, stop.signal);
        fetched.push(one);
        return one.bytes;
      } catch (thrown) {
        throw named(name, thrown);
      }
    };
    const bodies = wanted.map(({ name, addresses }) => addresses.map((address) => take(name, address)));
    try {
      return await Promise.all(bodies.map((some) => Promise.all(some)));
    } catch (thrown) {
      stop.abort(thrown);
      // What has come meanwhile is released with the rest.
      await Promise.allSettled(bodies.flat());
      throw thrown;
    } finally {
      timer.cancel();
      wait.signal.removeEventListener('abort', leave);
    }
  }
}

/** The error of an input given by its address, where nothing is fetched. */
export function fetchingIsOff([first]: readonly RemoteNeed[]): ShoalError {
  return invalid(
    `input ${quoteName(first!.name)} is given by an address, and this server was started without --remote-hosts, so that it fetches nothing`,
  );
}

/** @throws {ShoalError} INVALID_REQUEST, MODEL_NOT_READY. */
function checkBeforehand(target: RemoteTarget, { inputs, remote }: RemoteRequest, maxBytes: number): void {
  const { name, signature, maxBatchSize } = target;
  if (signature === undefined) throw target.notReady();
  checkCount(remote);
  for (const input of remote) {
    if (input.leastBytes <= maxBytes) continue;
    throw invalid(
      `input ${quoteName(input.name)} needs ${input.leastBytes} bytes, at most ${maxBytes} are fetched from one address`,
    );
  }
  if (remote.some(({ expected }) => expected === undefined)) return;
  const all = new Map(inputs);
  for (const { name: input, expected } of remote) all.set(input, expected!);
  checkInputs(name, signature, all, maxBatchSize);
}

function checkCount(wanted: readonly RemoteNeed[]): void {
  let addresses = 0;
  for (const one of wanted) addresses += one.addresses.length;
  if (addresses <= MAX_ADDRESSES) return;
  throw invalid(`the request has ${addresses} addresses, at most ${MAX_ADDRESSES} are fetched for one request`);
}

function named(input: string, thrown: unknown): ShoalError {
  const { code, message, retryAfterSeconds, cause } = toShoalError(thrown);
  if (code === 'CANCELLED' || code === 'DEADLINE_EXCEEDED') return toShoalError(thrown);
  return new ShoalError(code, `input ${quoteName(input)}: ${message}`, {
    cause,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });
}
