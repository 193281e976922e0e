"""Files that are text: prose and code, LaTeX, notebooks, subtitles, calendars, mail, SVG."""
