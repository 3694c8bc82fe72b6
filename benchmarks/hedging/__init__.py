"""What a second copy of slow calls brings, where one worker of four stands still now and then."""
