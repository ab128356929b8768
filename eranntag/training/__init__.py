"""Making Taggers: data, augmentation, schedules, averaged weights and the resumable loop."""
