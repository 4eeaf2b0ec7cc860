// Package identitytest helps tests of other rooms: a fake Authenticator that knows a few tokens, and a real identity service that is
// set up and quick (lowest bcrypt cost). Nothing outside of tests may import it.
package identitytest
