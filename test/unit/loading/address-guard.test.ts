import assert from 'node:assert/strict';
import type { LookupFunction } from 'node:net';
import { describe, it } from 'node:test';
import { isPrivateAddress, publicLookup } from '../../../src/loading/address-guard.ts';

describe('private addresses', () => {
  for (const address of [
    '127.0.0.1',
    '10.1.2.3',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    '::',
    '::ffff:127.0.0.1',
    '::ffff:8.8.8.8',
    '64:ff9b::7f00:1',
    'fe80::1',
    'fc00::1',
    'fd12::1',
    'ff02::1',
    '2002:7f00:1::1',
    '2001:db8::1',
    'localhost',
    '',
  ]) {
    it(`${JSON.stringify(address)} is one`, () => assert.ok(isPrivateAddress(address)));
  }
  for (const address of ['8.8.8.8', '172.32.0.1', '192.169.0.1', '100.128.0.1', '223.255.255.255', '2606:4700::1111']) {
    it(`${address} is none`, () => assert.ok(!isPrivateAddress(address)));
  }
});

describe('the lookup of public addresses', () => {
  const resolving =
    (...addresses: string[]): LookupFunction =>
    (_host, _options, callback) =>
      callback(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      );
  const lookUp = (lookup: LookupFunction, all: boolean): Promise<unknown> =>
    new Promise((resolve, reject) => {
      publicLookup(lookup)('name.test', { all }, (error, found) => (error === null ? resolve(found) : reject(error)));
    });

  it('gives what is public, and leaves out the rest', async () => {
    assert.equal(await lookUp(resolving('10.0.0.1', '8.8.8.8'), false), '8.8.8.8');
    assert.deepEqual(await lookUp(resolving('8.8.8.8', '::1', '1.1.1.1'), true), [
      { address: '8.8.8.8', family: 4 },
      { address: '1.1.1.1', family: 4 },
    ]);
  });

  it('refuses a name that is private throughout', async () => {
    await assert.rejects(lookUp(resolving('10.0.0.1', '::1'), true), {
      code: 'INVALID_REQUEST',
      message: /name\.test/,
    });
    await assert.rejects(lookUp(resolving(), false), { code: 'INVALID_REQUEST' });
  });
});
