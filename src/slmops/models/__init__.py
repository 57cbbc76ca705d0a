"""Where models come from, how they are prompted and how examples are packed for them.

Stands below `runtimes`: turns references into folders, messages into token ids, examples into batches. Knows no task's
meaning, no loss, no store (a `store:` reference is opened by a function that is passed in).
"""
