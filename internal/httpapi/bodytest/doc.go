// Package bodytest makes request bodies from a JSON schema, for tests: a right one, and from it wrong and strange ones (other types, missing and unknown keys, empty and
// huge texts, control characters, numbers that fit nowhere). Whether the schema takes a body is asked of the schema, not guessed.
//
// Pure: no goroutine, no state; what is made depends on the schema and the source of chance alone. Never here: sending requests, and knowing what any field means.
package bodytest
