import { invalid } from '../errors.ts';
import { isPrivateAddress, notPublic } from './address-guard.ts';

const HTTPS_PORT = '443';

/** An entry of the list of hosts: one host, or all below one. */
interface AllowedHost {
  /** `data.example.org`, or `.example.org` for all below it; as a URL has it, so in lower case and Punycode. */
  readonly name: string;
  readonly below: boolean;
  readonly port: string;
}

/** Decides which addresses may be fetched: what callers name, and where they are redirected to. */
export class AddressList {
  readonly #hosts: readonly AllowedHost[];
  readonly #allowsPrivate: boolean;

  /**
   * @param hosts `data.example.org`, `*.example.org` for all below it but not itself, either with a port; without one
   * that of `https:` alone is allowed.
   * @param allowsPrivate for tests.
   * @throws {ShoalError} INVALID_REQUEST for an entry that is none of these.
   */
  constructor(hosts: readonly string[], allowsPrivate = false) {
    this.#hosts = hosts.map(parseHost);
    this.#allowsPrivate = allowsPrivate;
  }

  /**
   * The URL of an address that may be fetched, without its fragment. Names are resolved and checked when they are
   * connected to.
   *
   * @throws {ShoalError} INVALID_REQUEST for every other one.
   */
  check(address: string): URL {
    if (!URL.canParse(address)) throw invalid(`${quote(address)} is not an address, expected https://…`);
    const url = new URL(address);
    const why = this.#refusal(url);
    if (why !== undefined) throw invalid(why);
    url.hash = '';
    return url;
  }

  /**
   * As {@link AddressList.check}, for where `from` redirects to. That is the host's word, not the caller's, so that the
   * caller is not told what it was.
   */
  checkRedirect(location: string, from: URL): URL {
    const url = URL.canParse(location, from) ? new URL(location, from) : undefined;
    if (url === undefined || this.#refusal(url) !== undefined) {
      throw invalid(`host '${from.hostname}' redirects to an address that may not be fetched`);
    }
    url.hash = '';
    return url;
  }

  #refusal(url: URL): string | undefined {
    const { protocol, username, password, hostname } = url;
    if (protocol !== 'https:') return `the address begins with ${quote(protocol)}, only https: is fetched`;
    if (username !== '' || password !== '') return 'the address has a user name or password in it';
    if (!this.#hosts.some((allowed) => isAllowed(url, allowed))) {
      const port = url.port === '' ? '' : ` with port ${url.port}`;
      return `host '${hostname}'${port} is not among those that may be fetched from`;
    }
    // A literal address is connected to without any name resolution. The URL's parser has made dotted ones of numbers
    // in other forms.
    const literal = hostname.replace(/^\[(.*)\]$/, '$1');
    const isLiteral = literal !== hostname || /^[\d.]+$/.test(literal);
    if (isLiteral && !this.#allowsPrivate && isPrivateAddress(literal)) return notPublic(hostname);
    return undefined;
  }
}

function parseHost(text: string): AllowedHost {
  const below = text.startsWith('*.');
  const address = `https://${below ? text.slice(2) : text}`;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined || url.pathname !== '/' || url.search !== '' || url.hash !== '' || url.username !== '') {
    throw invalid(
      `${quote(text)} is no host, expected one such as data.example.org, *.example.org or example.org:8443`,
    );
  }
  return { name: below ? `.${url.hostname}` : url.hostname, below, port: url.port || HTTPS_PORT };
}

function isAllowed({ hostname, port }: URL, { name, below, port: allowedPort }: AllowedHost): boolean {
  if ((port || HTTPS_PORT) !== allowedPort) return false;
  return below ? hostname.endsWith(name) && hostname.length > name.length : hostname === name;
}

function quote(address: string): string {
  return JSON.stringify(address.length > 100 ? `${address.slice(0, 100)}…` : address);
}
