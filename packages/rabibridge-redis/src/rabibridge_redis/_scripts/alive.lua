-- Tell whether a session is there: 1 or 0. ARGV: P, session.
return is_alive(ARGV[1], ARGV[2]) and 1 or 0
