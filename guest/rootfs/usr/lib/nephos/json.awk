# Flattens JSON: one line per scalar, "path<TAB>value"; path is keys and indexes joined by "/".
# Values and keys keep the escapes that printf %b undoes (\n, \t, \\, \0ooo), so that a line is a line.
# The text is cut at its quotation marks: odd pieces are structure, even ones strings.

function octal(byte) { return sprintf("\\0%03o", byte) }

# utf8: a code point as bytes in octal; plain ASCII as itself.
function utf8(c) {
	if (c >= 32 && c < 127 && c != 92) return sprintf("%c", c)
	if (c < 128) return octal(c)
	if (c < 2048) return octal(192 + int(c / 64)) octal(128 + c % 64)
	if (c < 65536) return octal(224 + int(c / 4096)) octal(128 + int(c / 64) % 64) octal(128 + c % 64)
	return octal(240 + int(c / 262144)) octal(128 + int(c / 4096) % 64) octal(128 + int(c / 64) % 64) octal(128 + c % 64)
}

function hex(digits,   k, v) {
	v = 0
	for (k = 1; k <= length(digits); k++) v = v * 16 + index("0123456789abcdef", tolower(substr(digits, k, 1))) - 1
	return v
}

# plain: JSON's escapes to those of printf %b.
function plain(text,   done, at, c, v, low) {
	if (!index(text, "\\")) return text
	done = ""
	while (at = index(text, "\\")) {
		c = substr(text, at + 1, 1)
		done = done substr(text, 1, at - 1)
		text = substr(text, at + 2)
		if (c == "u") {
			v = hex(substr(text, 1, 4))
			text = substr(text, 5)
			if (v >= 55296 && v < 56320 && substr(text, 1, 2) == "\\u") {
				low = hex(substr(text, 3, 4))
				text = substr(text, 7)
				v = 65536 + (v - 55296) * 1024 + low - 56320
			}
			done = done utf8(v)
		} else if (c == "\"" || c == "/") {
			done = done c
		} else {
			done = done "\\" c
		}
	}
	return done text
}

function emit(value,   k, path) {
	path = name[1]
	for (k = 2; k <= depth; k++) path = path "/" name[k]
	print path "\t" value
}

function end_word() {
	if (word != "") emit(word)
	word = ""
}

function structure(text,   k, c) {
	for (k = 1; k <= length(text); k++) {
		c = substr(text, k, 1)
		if (c == "{" || c == "[") {
			depth++
			object[depth] = (c == "{")
			at_key[depth] = (c == "{")
			name[depth] = object[depth] ? "" : 0
		} else if (c == "}" || c == "]") {
			end_word()
			depth--
		} else if (c == ",") {
			end_word()
			if (object[depth]) at_key[depth] = 1
			else name[depth]++
		} else if (c == ":") {
			at_key[depth] = 0
		} else if (c != " " && c != "\t" && c != "\n" && c != "\r") {
			word = word c
		}
	}
}

# open_ended: the piece ends in an odd number of backslashes, so the quotation mark after it is escaped.
function open_ended(text,   k) {
	k = length(text)
	while (k && substr(text, k, 1) == "\\") k--
	return (length(text) - k) % 2
}

{ all = all (NR > 1 ? " " : "") $0 }

END {
	pieces = split(all, piece, "\"")
	for (i = 1; i <= pieces; i++) {
		structure(piece[i])
		if (++i > pieces) break
		text = piece[i]
		while (open_ended(piece[i]) && i < pieces) text = text "\"" piece[++i]
		gsub(/\t/, "\\t", text)
		if (depth && object[depth] && at_key[depth]) name[depth] = plain(text)
		else emit(plain(text))
	}
}
