"""Trained models as files for other programs: from incident energies to voxels in MeV."""
