-- Drop dead letters for which there is no room. ARGV: P, bytes kept at most. Returns 1, or 0: call it again.
return trim_letters(ARGV[1], tonumber(ARGV[2])) and 1 or 0
