// Package dbtest gives tests an empty, migrated database of each dialect.
//
// PostgreSQL is Debian's (package postgresql-15 or newer), started once per test process on a unix socket in a temporary
// directory, or the server named by NEPHOS_TEST_POSTGRES. It is never used outside tests.
package dbtest
