SELECT sequence FROM changes WHERE namespace = $1 ORDER BY sequence DESC LIMIT 1
