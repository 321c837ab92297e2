import dns from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { invalid } from '../errors.ts';

/**
 * Addresses that are not on the public internet (RFC 6890 and its successors in IANA's special-purpose registries):
 * what a server can reach and the one who names an address to it must not.
 */
const PRIVATE = { ipv4: new BlockList(), ipv6: new BlockList() } as const;
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const) {
  PRIVATE.ipv4.addSubnet(network, bits, 'ipv4');
}
// Of IPv6 only 2000::/3 is in use on the internet; within it, tunnels that carry IPv4 and addresses for documentation.
for (const [network, bits] of [
  ['::', 3],
  ['4000::', 2],
  ['8000::', 1],
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const) {
  PRIVATE.ipv6.addSubnet(network, bits, 'ipv6');
}

/** Whether an IP address is none of the public internet; anything that is no IP address counts as one. */
export function isPrivateAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 0) return true;
  // Two lists: in one, every IPv4 address would match the IPv6 range that holds all mapped ones.
  return family === 6 ? PRIVATE.ipv6.check(address, 'ipv6') : PRIVATE.ipv4.check(address, 'ipv4');
}

/** What is said of a host that is, or resolves to, nothing but private addresses; these are not told. */
export function notPublic(hostname: string): string {
  return `host '${hostname}' is not on the public internet`;
}

/**
 * Name resolution that gives public addresses only. It is what the socket itself connects by, so that a name cannot
 * resolve to one address for the check and to another for the connection.
 *
 * @param resolve the system's, unless a test brings its own.
 */
export function publicLookup(resolve: LookupFunction = dns.lookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, found) => {
      if (error !== null) return callback(error, [], 0);
      const addresses = (Array.isArray(found) ? found : []).filter(({ address }) => !isPrivateAddress(address));
      const [first] = addresses;
      if (first === undefined) return callback(invalid(notPublic(hostname)), [], 0);
      if (options.all === true) return callback(null, addresses);
      return callback(null, first.address, first.family);
    });
  };
}
